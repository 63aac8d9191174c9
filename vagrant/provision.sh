#!/bin/sh
# Installs the system packages that artifactfs needs and this machine lacks. Asks nothing; run again, it changes nothing.
# `make demo` and `make test` run it first, and so does vagrant/Vagrantfile.
set -eu

usage() {
    cat <<'TEXT'
usage: vagrant/provision.sh [--dev] [--peers] [--vagrant] [--containers] [--list]

Installs what is missing of the system packages for artifactfs (Debian 12 and its relatives). No option: what the demo
needs.
  --dev      also what only tests, benchmarks and linters use
  --peers    also the file systems that benchmarks compare with
  --vagrant  also vagrant itself, to check the Vagrantfile with
  --containers  also podman, and what makes an image to test with
  --list     print the packages, one a line, and change nothing
TEXT
}

# python3-venv: the virtual environment; libfuse2: loaded by fusepy; fuse3: fusermount, for mounts of ordinary users.
base_packages="ca-certificates fuse3 git libfuse2 make python3 python3-venv"
# Tools that the tests run on a mount, mkfs for file systems that fill up, ruby for the Vagrantfile.
# Chromium shows the web page to its tests.
dev_packages="attr chromium e2fsprogs patch procps rsync ruby strace xfsprogs"
# borg mounts with pyfuse3; ratarmount comes from PyPI.
peer_packages="borgbackup erofs-utils python3-pyfuse3 rclone restic squashfs-tools squashfuse"
# podman with runc; buildah comes with podman.
container_packages="debootstrap podman runc uidmap"

say() {
    printf 'provision: %s\n' "$*"
}

fail() {
    printf 'provision: %s\n' "$*" >&2
    exit 1
}

is_installed() {
    # From Debian 13 on, libfuse2 comes as libfuse2t64.
    dpkg-query -W -f '${db:Status-Status}\n' "$1" "${1}t64" 2>/dev/null | grep -qx installed
}

find_missing() {
    for package in $packages; do
        is_installed "$package" || printf ' %s' "$package"
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        say "running with sudo: $*"
        sudo "$@"
    else
        fail "this needs root, and there is no sudo here; as root, run: $*"
    fi
}

install_missing() {
    say "installing with apt-get:$missing"
    as_root apt-get update -qq
    # What apt says while it works is left out; its errors are on standard error. Word splitting is wanted.
    # shellcheck disable=SC2086
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    say "installed:$missing"
}

# Elsewhere than on Debian, packages have other names: ask for what they bring instead.
check_elsewhere() {
    absent=""
    for tool in git make python3 fusermount3; do
        command -v "$tool" >/dev/null 2>&1 || absent="$absent $tool"
    done
    if command -v python3 >/dev/null 2>&1; then
        python3 -c 'import ensurepip, venv' 2>/dev/null || absent="$absent venv (of Python)"
        python3 -c 'import ctypes; ctypes.CDLL("libfuse.so.2")' 2>/dev/null || absent="$absent libfuse.so.2"
    fi
    [ -z "$absent" ] || fail "missing here:$absent. Only Debian and its relatives are installed automatically." \
        "With this system's own package manager, install what Debian calls: $packages"
}

check_python() {
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail \
        "$(python3 --version) is too old: artifactfs needs Python 3.11 or newer (make PYTHON=/path/to/python3.11 ...)"
}

# Never fatal: everything but mounting works without the device, and `artifactfs doctor` says the same.
check_fuse_device() {
    if [ ! -e /dev/fuse ] && command -v modprobe >/dev/null 2>&1; then
        say "/dev/fuse is missing: loading the kernel module fuse"
        as_root modprobe fuse || true
    fi
    if [ ! -e /dev/fuse ]; then
        say "warning: /dev/fuse is missing, so nothing can be mounted. On a machine of your own run" \
            "'modprobe fuse'; in a container start it with '--device /dev/fuse --cap-add SYS_ADMIN'." >&2
    elif ! { [ -r /dev/fuse ] && [ -w /dev/fuse ]; }; then
        # Debian lets everybody open it; without a device manager it can be root's alone.
        say "/dev/fuse may not be opened by this user: letting everybody open it, as Debian does"
        as_root chmod 666 /dev/fuse || true
    fi
}

# fusermount3 reads it when a user unmounts; the smallest installations lack it.
check_mount_table() {
    if [ ! -e /etc/mtab ] && [ -e /proc/self/mounts ]; then
        say "/etc/mtab is missing, which unmounting needs: making it a link to /proc/self/mounts, as Debian does"
        as_root ln -s ../proc/self/mounts /etc/mtab || true
    fi
}

packages="$base_packages"
only_list=""
for option in "$@"; do
    case "$option" in
        --dev) packages="$packages $dev_packages" ;;
        --peers) packages="$packages $peer_packages" ;;
        --vagrant) packages="$packages vagrant" ;;
        --containers) packages="$packages $container_packages" ;;
        --list) only_list=yes ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done
if [ -n "$only_list" ]; then
    # shellcheck disable=SC2086
    printf '%s\n' $packages
    exit 0
fi

if command -v dpkg-query >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
    missing=$(find_missing)
    if [ -n "$missing" ]; then
        install_missing
    else
        say "all system packages are there"
    fi
else
    check_elsewhere
    say "all system tools are there"
fi
check_python
check_fuse_device
check_mount_table
