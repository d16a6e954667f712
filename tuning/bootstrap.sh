#!/usr/bin/env bash
# Installs what the build, the tests and the demonstration need from Debian 12, Ubuntu 24.04 or a relative of them.
# Run by `make bootstrap` (and by `make demo` and `make test`). Safe to run again: it looks for the commands, and does
# and prints nothing more than one line when none is missing. It never touches the Rust toolchain.
#
# Without root it prints the one command to run and exits 1.
set -euo pipefail

# Debian keeps some of the commands where a user's PATH does not look.
PATH=$PATH:/usr/sbin:/sbin

# command or file to look for | Debian package | what for
needs=(
    "cc|gcc|C compiler: the crypto library and SQLite are built from source"
    "/usr/include/stdlib.h|libc6-dev|C library headers, for the compiler"
    "make|make|runs the targets"
    "git|git|the source tree"
    "clang|clang|compiles the BPF programs; without it a build has no kernel fast path and says so"
    "pkg-config|pkg-config|libbpf's build asks it where libelf is"
    "/usr/include/libelf.h|libelf-dev|libbpf is built from source against it"
    "/usr/include/zlib.h|zlib1g-dev|libbpf and libelf use it"
    "/usr/include/linux/bpf.h|linux-libc-dev|kernel headers of the BPF programs"
    "ip|iproute2|namespaces and links of the tests that count packets at the receiver"
    "ethtool|ethtool|turns checksums by the device off on those links"
    "openssl|openssl|the other end of the TLS tests"
    "sipp|sip-tester|SIP callers and callees of the tests and the demonstration, and the speech that they send"
    "/usr/share/postgresql-common/pg_wrapper|postgresql|the server that the tests of the store start for themselves"
    "setpriv|util-linux|starts the planes so that they end with the test that started them"
)

missing=()
for need in "${needs[@]}"; do
    IFS='|' read -r what package purpose <<<"$need"
    if [[ $what == /* ]]; then
        [[ -e $what ]] && continue
    else
        command -v "$what" >/dev/null && continue
    fi
    echo "bootstrap: $what is missing: package $package ($purpose)"
    missing+=("$package")
done

if ! command -v cargo >/dev/null; then
    echo "bootstrap: cargo is missing. Install Rust with rustup (https://rustup.rs); rust-toolchain.toml names the version." >&2
    exit 1
fi

if ((${#missing[@]} == 0)); then
    echo "bootstrap: nothing to install"
    exit 0
fi

if ! command -v apt-get >/dev/null; then
    echo "bootstrap: there is no apt-get here; install what provides the above by hand" >&2
    exit 1
fi

install="apt-get update && apt-get install --yes --no-install-recommends ${missing[*]}"
if ((EUID != 0)); then
    echo "bootstrap: not root. Run this, then try again:" >&2
    echo "    sudo sh -c '$install'" >&2
    exit 1
fi

echo "bootstrap: installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update --quiet
apt-get install --yes --no-install-recommends "${missing[@]}"
echo "bootstrap: installed ${missing[*]}"
