#!/usr/bin/env bash
# Installs what `make bench-relay`, `make bench-sip`, `make bench-srtp` and a few tests need beyond `make bootstrap`: rtpengine,
# Kamailio, libsrtp2 and baresip, the peers that we are measured beside, registered with and called by, and sipvicious. Safe to
# run again. Needs root; their services are neither started nor enabled, and rtpengine's kernel module is not installed.
set -euo pipefail

# command or file | Debian package
needs=(
    "mount|mount"
    "rtpengine|rtpengine-daemon"
    "kamailio|kamailio"
    "svmap|sipvicious"
    "/usr/lib/baresip/modules/srtp.so|baresip-core"
    "/usr/include/srtp2/srtp.h|libsrtp2-dev"
)

missing=()
for need in "${needs[@]}"; do
    IFS='|' read -r what package <<<"$need"
    [[ -e $what ]] || command -v "$what" >/dev/null || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
    echo "bench-bootstrap: nothing to install"
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
