#!/usr/bin/env bash
# Installs what `make bench-relay`, `make bench-sip`, `make bench-srtp` and a few tests need beyond `make bootstrap`: rtpengine,
# Kamailio, libsrtp2 and baresip, the peers that we are measured beside, registered with and called by, sipvicious, FFmpeg, Chromium with
# SIP.js and playwright-core from npm (3 MB), and pjsua2 and aiortc from PyPI (50 MB) into `target/peers`. Safe to run again. Needs root for what is missing of Debian; the services are neither started nor
# enabled, and rtpengine's kernel module is not installed.
set -euo pipefail
cd "$(dirname "$0")/.."

# From the index that pip is configured for. Without it the tests that need it are skipped, and all else is as useful.
install_phones() {
    local peers=${CARGO_TARGET_DIR:-target}/peers
    if cmp --silent bench/peers.txt "$peers/peers.txt"; then
        return
    fi
    echo "bench-bootstrap: installing pjsua2 and aiortc into $peers"
    # The list comes last, as the mark that all went well.
    python3 -m venv --clear "$peers" &&
        "$peers/bin/python3" -m pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
            --requirement bench/peers.txt &&
        "$peers/bin/python3" -c 'import pjsua2, aiortc, websockets' &&
        cp bench/peers.txt "$peers/peers.txt" ||
        echo "bench-bootstrap: no pjsua2 and aiortc here; wheels exist for Python 3.11 and 3.12, this is $(python3 --version)" >&2
}

# From the registry that npm is configured for, by the hashes of the lock. The lock is copied last, as the mark that all went well.
install_browser_phone() {
    local peers=${CARGO_TARGET_DIR:-target}/peers/webrtc from=bench/tests/it/webrtc
    if cmp --silent "$from/package-lock.json" "$peers/package-lock.done"; then
        return
    fi
    echo "bench-bootstrap: installing SIP.js and playwright-core into $peers"
    rm -rf "$peers"
    mkdir -p "$peers"
    cp "$from/package.json" "$from/package-lock.json" "$peers"
    (cd "$peers" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) &&
        cp "$from/package-lock.json" "$peers/package-lock.done" ||
        echo "bench-bootstrap: no SIP.js here; this is npm $(npm --version)" >&2
}

# command or file | Debian package
needs=(
    "mount|mount"
    "rtpengine|rtpengine-daemon"
    "kamailio|kamailio"
    "svmap|sipvicious"
    "/usr/lib/baresip/modules/srtp.so|baresip-core"
    "/usr/include/srtp2/srtp.h|libsrtp2-dev"
    "python3|python3"
    "chromium|chromium"
    "ffmpeg|ffmpeg"
    "node|nodejs"
    "npm|npm"
)

missing=()
if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=(python3-venv)
fi
for need in "${needs[@]}"; do
    IFS='|' read -r what package <<<"$need"
    [[ -e $what ]] || command -v "$what" >/dev/null || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
    install_phones
    install_browser_phone
    echo "bench-bootstrap: no package to install"
    exit 0
fi
if ((EUID != 0)); then
    echo "bench-bootstrap: not root; missing: ${missing[*]}" >&2
    exit 1
fi

# Packages start their services unless this file says no (see policy-rc.d in Debian Policy 9.3.3). One that is there
# already is the administrator's and stays.
policy=/usr/sbin/policy-rc.d
if [[ ! -e $policy ]]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

echo "bench-bootstrap: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --yes --no-install-recommends "${missing[@]}"

# The packages enable their services for the next boot.
for package in rtpengine-daemon kamailio; do
    if command -v systemctl >/dev/null && [[ " ${missing[*]} " == *" $package "* ]]; then
        systemctl disable "$package.service"
    fi
done
echo "bench-bootstrap: installed ${missing[*]}"
install_phones
install_browser_phone
