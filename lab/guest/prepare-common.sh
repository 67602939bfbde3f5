# Sourced by prepare-uml and prepare-tcg, which print the folder of the kernel that they made, or found ready.
#
# Usage: prepare-NAME FOLDER. The kernel's folder below FOLDER is named for its version and its recipe (these scripts), so a change
# of either makes a new one; it appears by one rename, whole or not at all. What is ready is found in a fraction of a second.
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
here=$(cd "$(dirname "$0")" && pwd)

say() { echo "guest: $*" >&2; }
die() { say "$@"; exit 1; }
apt() { apt-get -qq -o DPkg::Lock::Timeout=600 -o APT::Sandbox::User=root "$@" >&2; }

# packages NAME...: install those that are not; apt-get update only if one is missing.
packages() {
    local missing
    missing=$({ dpkg-query -W -f '${Package} ${db:Status-Status}\n' "$@" 2>/dev/null || true; } |
        awk '$2 == "installed" { print $1 }' | sort | comm -23 <(printf '%s\n' "$@" | sort) - | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    [ "$(id -u)" = 0 ] || die "missing $missing; run as root so that they can be installed"
    say "installing $missing"
    # shellcheck disable=SC2086 # a list of packages is meant to be split
    { apt update && apt install -y --no-install-recommends $missing >"$folder/apt.log" 2>&1; } ||
        { tail -20 "$folder/apt.log" >&2; die "apt-get could not install $missing"; }
}

# known COMMAND...: what it prints of apt's lists, which may be old or absent: asked once more after an update.
known() { "$@" 2>/dev/null | grep . || { apt update; "$@" 2>/dev/null | grep . || true; }; }

# target VERSION: sets $target; ends the script if it is there.
target() {
    local recipe=("$here"/{prepare-common.sh,prepare-"$name",init-"$name"})
    mapfile -t -O 3 recipe < <(compgen -G "$here/$name-*")
    target=$folder/$name-$1-$(cat "${recipe[@]}" | cksum | cut -d' ' -f1)
    [ ! -d "$target" ] || { echo "$target"; exit 0; }
    scratch=$(mktemp -d "$target.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    cd "$scratch"
    mkdir -p result/lib/modules
}

finish() { mv "$scratch/result" "$target"; say "prepared $(basename "$target")"; echo "$target"; }

[ "$(dpkg --print-architecture)" = amd64 ] || die "the guest kernels are for amd64 machines"
name=${0##*/prepare-}
mkdir -p "$1"
folder=$(cd "$1" && pwd)
trap 'exit 130' INT
trap 'exit 143' TERM
exec 9>"$folder/lock"
# Several runs may find it missing at once.
flock -w 2 9 || { say "another run is preparing a kernel; waiting for it"; flock 9; }
# Every guest uses these from the host's root filesystem, which is its own.
packages kmod busybox-static iproute2 iputils-ping iptables nftables procps wireguard-tools
