#!/bin/bash
# Object-store servers for `make test-remote`: Ceph's S3 gateway, whole and in memory, from Debian's packages, and
# Azurite from npm. Everything listens on 127.0.0.1 and keeps its files below one directory.
set -euo pipefail

# Where npm puts Azurite: below the checkout, so that nothing else of this machine changes.
azurite_home=${AZURITE_HOME:-$(cd "$(dirname "$0")/../.." && pwd)/${VENV:-.venv}/azurite}
azurite_version=3.35.0
ceph_packages="ceph-mon ceph-mgr ceph-osd radosgw ceph-common uuid-runtime"

usage() {
    cat <<'TEXT'
usage: tests/remote/object-stores.sh COMMAND

  install               install what is missing; says what could not be
  ceph DIR PORT         start Ceph's S3 gateway with its files below DIR; keys AKAKAKAK / SKSKSKSK
  azurite DIR PORT      start Azurite's blob service with its files below DIR
  stop DIR              end what was started with DIR
TEXT
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt_install() {
    as_root apt-get update -qq &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

install_ceph() {
    command -v radosgw ceph-mon ceph-osd radosgw-admin uuidgen >/dev/null && return
    echo "object-stores: installing $ceph_packages"
    # Word splitting is wanted: one argument for each package.
    # shellcheck disable=SC2086
    apt_install $ceph_packages || echo "object-stores: Ceph's packages could not be installed" >&2
}

install_azurite() {
    [ -x "$azurite_home/node_modules/.bin/azurite-blob" ] && return
    command -v npm >/dev/null || apt_install nodejs npm || true
    echo "object-stores: installing azurite@$azurite_version below $azurite_home"
    mkdir -p "$azurite_home"
    npm install --prefix "$azurite_home" --silent --no-audit --no-fund "azurite@$azurite_version" >/dev/null ||
        echo "object-stores: Azurite could not be installed" >&2
}

write_ceph_conf() {
    local dir=$1 port=$2 fsid=$3 mon=$4
    cat >"$dir/ceph.conf" <<TEXT
[global]
fsid = $fsid
mon host = v2:127.0.0.1:$mon,v1:127.0.0.1:$((mon + 1))
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
run dir = $dir/run
admin socket = $dir/run/\$name.asok
pid file = $dir/run/\$name.pid
log file = $dir/run/\$name.log
keyring = $dir/keyring
osd pool default size = 1
osd pool default min size = 1
mon allow pool size one = true
osd crush chooseleaf type = 0
mon warn on pool no redundancy = false
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
mon data avail crit = 1
mon data avail warn = 2
[mon.a]
mon data = $dir/data/mon.a
[osd.0]
osd data = $dir/data/osd.0
osd objectstore = memstore
memstore device bytes = 4294967296
[client.admin]
keyring = $dir/keyring
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw thread pool size = 32
rgw dns name = localhost
TEXT
}

start_ceph() {
    local dir=$1 port=$2 fsid mon
    fsid=$(uuidgen)
    mon=$((20000 + RANDOM % 20000))
    mkdir -p "$dir"/data/mon.a "$dir"/data/osd.0 "$dir"/run
    write_ceph_conf "$dir" "$port" "$fsid" "$mon"
    export CEPH_CONF=$dir/ceph.conf
    cd "$dir"
    exec >"$dir/run/start.log" 2>&1
    ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *'
    ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
    ceph-authtool keyring --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
    monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon,v1:127.0.0.1:$((mon + 1))]" data/monmap --clobber
    ceph-mon --mkfs -i a --monmap data/monmap --keyring keyring
    ceph-mon -i a
    timeout 60 ceph osd create
    ceph-osd -i 0 --mkfs --osd-uuid "$(uuidgen)"
    ceph-osd -i 0
    timeout 60 ceph osd crush add osd.0 1.0 root=default host=h || true
    timeout 90 radosgw-admin user create --uid=t --display-name=t --access-key=AKAKAKAK --secret=SKSKSKSK
    timeout 60 radosgw -n client.admin
}

start_azurite() {
    local dir=$1 port=$2
    mkdir -p "$dir/run" "$dir/data"
    AZURE_STORAGE_NO_TELEMETRY=1 nohup "$azurite_home/node_modules/.bin/azurite-blob" --silent --disableTelemetry \
        --skipApiVersionCheck --blobHost 127.0.0.1 --blobPort "$port" --location "$dir/data" \
        </dev/null >"$dir/run/start.log" 2>&1 &
    echo $! >"$dir/run/azurite.pid"
}

stop() {
    local dir=$1 file pid
    for file in "$dir"/run/*.pid; do
        [ -s "$file" ] || continue
        pid=$(cat "$file")
        # A number may have gone to another process meanwhile: ours names the directory.
        tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qF "$dir" ||
            tr '\0' '\n' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF "$dir" || continue
        kill -KILL "$pid" 2>/dev/null || true
    done
}

case "${1:-}" in
    install) install_ceph; install_azurite ;;
    ceph) start_ceph "$2" "$3" ;;
    azurite) start_azurite "$2" "$3" ;;
    stop) stop "$2" ;;
    *) usage >&2; exit 2 ;;
esac
