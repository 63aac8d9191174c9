"""A server for tests: mounts a plain directory by the kernel transport and serves it until SIGTERM.

    serve_tree.py ROOT MOUNTPOINT [--fd N] [--passthrough] [--debug] [--workers N] [--stuck SECONDS] [--source MODULE]
        [--without FEATURE,...] [--minor N]      as on a kernel that offers no such feature, or speaks an older protocol
        [--connections DIRECTORY]                where fusectl is mounted
    serve_tree.py --resume N        after SIGUSR2, which upgrades by exec

Prints `ready` when INIT is answered.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sys
from contextlib import closing

from artifactfs.mount.kernel import idleness, serve
from artifactfs.mount.kernel.codes import InitFlag
from artifactfs.mount.kernel.mounting import MountRequest, open_mount
from artifactfs.mount.kernel.serve import resume
from artifactfs.mount.kernel.settings import ServeSettings, load_handover
from artifactfs.mount.kernel.source import SourceSpec
from artifactfs.mount.kernel.structures import IN_HEADER, INIT_IN, INIT_IN_OLD
from artifactfs.mount.kernel.supervisor import Supervisor
from artifactfs.mount.kernel.upgrade import handover_of, replace_program


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", nargs="?")
    parser.add_argument("mountpoint", nargs="?")
    parser.add_argument("--fd", type=int)
    parser.add_argument("--passthrough", action="store_true")
    parser.add_argument("--debug", action="store_true")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--stuck", type=float, default=60)
    parser.add_argument("--source", default="artifactfs.testing.tree_source")
    parser.add_argument("--without", default="")
    parser.add_argument("--minor", type=int)
    parser.add_argument("--connections", default=idleness.CONNECTIONS)
    parser.add_argument("--resume", type=int)
    return parser.parse_args()


def pretend(without: str, minor: int | None) -> None:
    """Change the INIT that is read from the kernel, to that of an older one; what is answered is real."""
    read = serve._read_init

    def read_older(device: int) -> bytes:
        request = bytearray(read(device))
        start = IN_HEADER.size
        major, newest, readahead, low = INIT_IN_OLD.packer.unpack_from(request, start)
        gone = sum(InitFlag[name] for name in without.split(",") if name)
        low &= ~gone & 0xFFFFFFFF
        INIT_IN_OLD.packer.pack_into(request, start, major, minor or newest, readahead, low)
        if low & InitFlag.INIT_EXT:
            extended = list(INIT_IN.packer.unpack_from(request, start))
            extended[4] &= ~(gone >> 32)
            INIT_IN.packer.pack_into(request, start, *extended)
        return bytes(request)

    serve._read_init = read_older


def main() -> None:
    args = parse()
    level = logging.DEBUG if args.debug else logging.INFO
    logging.basicConfig(level=level, format="%(process)d %(levelname)s %(message)s")
    restarts, old = 0, ()
    if args.resume is not None:
        handover = load_handover(args.resume)
        mounted, restarts, old = resume(handover), handover.restarts, handover.children
    else:
        request = MountRequest(args.mountpoint, allow_other=os.getuid() == 0)
        device = args.fd if args.fd is not None else open_mount(request)
        source = SourceSpec(args.source, {"root": args.root})
        settings = ServeSettings(
            args.mountpoint,
            source,
            args.workers,
            stuck_seconds=args.stuck,
            passthrough=args.passthrough,
            debug=args.debug,
        )
        idleness.CONNECTIONS = args.connections
        pretend(args.without, args.minor)
        mounted = serve.begin(device, settings)
    supervisor = Supervisor(mounted, restarts=restarts)
    supervisor.adopt(old)
    upgrades, asked = socket.socketpair()
    signal.signal(signal.SIGUSR2, lambda *_: asked.send(b"u"))

    def upgrade() -> None:
        upgrades.recv(1)
        descriptor = handover_of(supervisor, started_ns=0)
        replace_program([sys.executable, __file__, "--resume", str(descriptor)])

    supervisor.add_reader(upgrades, upgrade)
    print("ready", flush=True)
    with closing(upgrades), closing(asked):
        supervisor.run()
    supervisor.end()


if __name__ == "__main__":
    main()
