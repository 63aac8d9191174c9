"""What an upgraded supervisor takes over."""

from __future__ import annotations

import os
import sys

import msgspec
import pytest
from msgspec import structs

from artifactfs.errors import MountError
from artifactfs.mount.kernel import daemon
from artifactfs.mount.kernel.backing_table import create_backings
from artifactfs.mount.kernel.catalogue import Served, describe
from artifactfs.mount.kernel.negotiation import Negotiated
from artifactfs.mount.kernel.serve import resume
from artifactfs.mount.kernel.settings import Handover, ServeSettings, load_handover, read_handover, store_handover
from artifactfs.mount.kernel.shared import BYTES, create_counters
from artifactfs.mount.kernel.source import SourceSpec
from artifactfs.mount.kernel.upgrade import check_installed
from artifactfs.mount.orders import REPOSITORY, Order

AGREED = Negotiated(45, 7, 7, 131072, 256)
SETTINGS = ServeSettings("/mnt/a b", SourceSpec("some.module", {"root": "/x"}), 2, debug=True)


def handover(counters: int, backings: int) -> Handover:
    return Handover(SETTINGS, AGREED, 3, counters, backings, (11, 12), 5, 1, 99, {"lock": "7"})


def test_a_handover_goes_through_a_descriptor() -> None:
    assert load_handover(store_handover(handover(4, 5))) == handover(4, 5)


def test_paths_that_are_not_utf8_go_through_too() -> None:
    settings = structs.replace(SETTINGS, mountpoint="/m\udcff", source=SourceSpec("x", {"repository": "/r\udcff"}))
    given = structs.replace(handover(4, 5), settings=settings, extra={"state": "/s\udcfe"})
    assert load_handover(store_handover(given)) == given


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]"])
def test_what_is_no_handover_is_told_from_one(data: bytes) -> None:
    strange = os.memfd_create("strange")
    os.write(strange, data)
    with pytest.raises(msgspec.DecodeError):
        read_handover(strange)
    os.close(strange)


def test_counts_and_open_files_go_on() -> None:
    counters, backings = create_counters(), create_backings()
    counters.row(0)[BYTES] = 77
    backings.open(2, 7, register=lambda: 1)
    mounted = resume(handover(counters.descriptor, backings.descriptor))
    assert (mounted.settings, mounted.agreed, mounted.device) == (SETTINGS, AGREED, 3)
    assert mounted.counters.row(0)[BYTES] == 77
    assert mounted.backings.release(2) == 1


@pytest.mark.parametrize("size", [0, 4096, 1 << 24])
def test_a_table_of_another_shape_is_begun_anew(size: int) -> None:
    """Another version may have other rows: mapping more than there is would end the mount, and others be misread."""
    strange = os.memfd_create("strange")
    os.truncate(strange, size)
    mounted = resume(handover(create_counters().descriptor, strange))
    assert mounted.backings.open(2, 7, register=lambda: 4) == 4
    os.close(strange)


def test_an_upgrade_is_refused_by_a_version_that_cannot_read_what_it_is_handed() -> None:
    command = [sys.executable, "-P", "-m", daemon.MODULE, "--check"]
    order = Order(REPOSITORY, "/mnt", "/repository", "/state", "/cache", "/runtime")
    served = Served("/repository", "/state", 0, 0, epoch=7, order=order.encode())
    settings = structs.replace(SETTINGS, source=describe(served))
    good = structs.replace(handover(4, 5), settings=settings, extra={"order": order.encode(), "id": "1", "state": "/s"})
    number = store_handover(good)
    check_installed(command, handover=number)
    os.close(number)
    for other in (SETTINGS, structs.replace(settings, workers="two")):  # type: ignore[arg-type]
        strange = store_handover(structs.replace(good, settings=other))
        with pytest.raises(MountError, match=r"does not start: msgspec\.ValidationError") as caught:
            check_installed(command, handover=strange)
        assert "goes on" in caught.value.hint
