"""INIT: what is agreed on with kernels of today and of earlier years."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from artifactfs.errors import MountError
from artifactfs.mount.kernel import serve
from artifactfs.mount.kernel.codes import InitFlag, Opcode
from artifactfs.mount.kernel.negotiation import WANTED, Negotiated, encode_init_reply, is_init, negotiate
from artifactfs.mount.kernel.notifications import encode_resend
from artifactfs.mount.kernel.serve import SHORT_NS, with_short_names
from artifactfs.mount.kernel.settings import ServeSettings
from artifactfs.mount.kernel.source import SourceSpec
from artifactfs.mount.kernel.structures import IN_HEADER, INIT_IN, INIT_IN_OLD, INIT_OUT, OUT_HEADER

EVERYTHING = (1 << 43) - 1


def init(minor: int, flags: int, *, major: int = 7, old: bool = False) -> bytes:
    low, high = flags & 0xFFFFFFFF, flags >> 32
    body = (
        INIT_IN_OLD.packer.pack(major, minor, 131072, low)
        if old
        else INIT_IN.packer.pack(major, minor, 131072, low, high)
    )
    return IN_HEADER.packer.pack(IN_HEADER.size + len(body), Opcode.INIT, 9, 0, 0, 0, 0, 0, 0) + body


def test_a_kernel_of_today() -> None:
    agreed = negotiate(init(45, EVERYTHING))
    assert (agreed.minor, agreed.flags, agreed.max_read) == (45, int(WANTED), 1 << 20)
    assert agreed.missing() == []
    assert not agreed.has(InitFlag.PASSTHROUGH)
    assert negotiate(init(45, EVERYTHING), extra=InitFlag.PASSTHROUGH).has(InitFlag.PASSTHROUGH)


def test_a_kernel_of_tomorrow_is_spoken_to_in_our_minor() -> None:
    assert negotiate(init(60, EVERYTHING)).minor == 45


def test_linux_5_10_has_fallbacks_and_a_line_for_each() -> None:
    agreed = negotiate(init(32, EVERYTHING & 0x3FFFFFFF, old=True))
    assert not agreed.has(InitFlag.HAS_RESEND)
    assert [line.partition(":")[0] for line in agreed.missing()] == [
        "this kernel has no RESEND (Linux 6.9)",
        "this kernel has no EXPIRE_ONLY (Linux 6.2)",
    ]


@pytest.mark.parametrize(("major", "minor"), [(7, 30), (6, 45), (8, 0)])
def test_other_protocols_are_refused(major: int, minor: int) -> None:
    with pytest.raises(MountError, match="fusepy"):
        negotiate(init(minor, EVERYTHING, major=major))


def test_the_answer() -> None:
    request = init(45, EVERYTHING)
    assert is_init(request)
    assert not is_init(request[:50])
    answer = encode_init_reply(request, negotiate(request, extra=InitFlag.PASSTHROUGH))
    assert OUT_HEADER.packer.unpack_from(answer) == (80, 0, 9)
    values = dict(zip(INIT_OUT.fields, INIT_OUT.packer.unpack_from(answer, 16), strict=True))
    assert (values["major"], values["minor"], values["max_pages"], values["max_background"]) == (7, 45, 256, 1000)
    assert (values["max_stack_depth"], values["time_gran"]) == (1, 1)
    assert values["flags"] | values["flags2"] << 32 == int(WANTED | InitFlag.PASSTHROUGH)


@pytest.mark.parametrize("page", [4096, 16 << 10, 64 << 10])
def test_a_read_fits_into_the_buffer_whatever_a_page_is(page: int) -> None:
    program = (
        "import mmap\n"
        f"mmap.PAGESIZE = {page}\n"
        "from artifactfs.mount.kernel.negotiation import Negotiated, MAX_PAGES\n"
        "print(Negotiated(45, 0, 0, 0, MAX_PAGES).max_read, Negotiated(45, 0, 0, 0, 32).max_read)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(1 << 20), str(32 * page)]


def test_names_of_features() -> None:
    agreed = Negotiated(45, int(InitFlag.MAX_PAGES | InitFlag.HAS_RESEND), 0, 0, 256)
    assert agreed.feature_names() == ["MAX_PAGES", "HAS_RESEND"]


@pytest.mark.parametrize("refusal", [None, PermissionError(1, "not permitted")], ids=["granted", "refused"])
def test_a_refused_passthrough_is_no_feature(monkeypatch: pytest.MonkeyPatch, refusal: OSError | None) -> None:
    agreed = negotiate(init(45, EVERYTHING), extra=InitFlag.PASSTHROUGH)
    monkeypatch.setattr(serve, "answer_init", lambda *_, **__: agreed)
    monkeypatch.setattr(serve, "may_register", lambda *_: refusal)
    mounted = serve.begin(-1, ServeSettings("/nowhere", SourceSpec("none", {}), 1, passthrough=True))
    assert mounted.settings.passthrough is (refusal is None)
    assert ("PASSTHROUGH" in mounted.agreed.feature_names()) is (refusal is None)


def test_a_descriptor_from_which_nothing_comes_hangs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "INIT_SECONDS", 0.05)
    reading, writing = os.pipe()
    with pytest.raises(MountError, match="something serves it already"):
        serve.answer_init(reading, passthrough=False)
    os.close(reading)
    os.close(writing)


def test_a_request_that_was_another_servers_is_handed_out_again() -> None:
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, kernels:
        kernels.send(IN_HEADER.packer.pack(IN_HEADER.size, Opcode.GETATTR, 9, 1, 0, 0, 0, 0, 0))
        with pytest.raises(MountError, match="is not INIT"):
            serve.answer_init(ours.fileno(), passthrough=False)
        assert kernels.recv(100) == encode_resend()


def test_names_are_kept_shortly_where_they_cannot_be_expired() -> None:
    assert with_short_names(SourceSpec("artifactfs.x", {"a": 1})).arguments == {"a": 1, "names_ns": SHORT_NS}
