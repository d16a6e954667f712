#!/usr/bin/env bash
# Licences, bans, sources and advisories of the dependencies (deny.toml), with cargo-deny.
#
# What cannot be checked is said in a line that starts with ABSENT, and is no failure even under STRICT=1: cargo-deny
# takes minutes to build and is not required, and the advisory database is a git repository that a closed network does
# not reach.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v cargo-deny >/dev/null; then
    echo "ABSENT cargo deny: cargo-deny is not installed (cargo install --locked cargo-deny)"
    exit 0
fi

cargo deny --locked check --hide-inclusion-graph bans licenses sources

said=$(mktemp)
trap 'rm -f "$said"' EXIT
if cargo deny --locked check --hide-inclusion-graph advisories 2>"$said"; then
    cat "$said" >&2
elif grep -q "failed to fetch advisory database" "$said"; then
    echo "ABSENT cargo deny advisories: the advisory database cannot be fetched from here"
else
    cat "$said" >&2
    exit 1
fi
