"""References in mounts: read when asked for, refused where nobody allowed them, and never other bytes than recorded."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifactfs.mount import api
from artifactfs.mount.options import MountInfo, MountOptions
from artifactfs.mount.overlay.mounting import may_overlay
from artifactfs.reference.policy import ReferencePolicy
from artifactfs.reference.references import References
from artifactfs.repository.commit import CommitOptions
from artifactfs.repository.put import Source, put_paths
from artifactfs.repository.referring import Referred
from artifactfs.repository.repository import Repository, open_repository
from artifactfs.repository.staging import StagingArea
from artifactfs.staging.layout import OVERLAY, UNION
from tests.mount.conftest import Folders, errno_of, wait_until
from tests.reference.odd_server import Odd, running_odd_server

pytestmark = pytest.mark.mounted
SMALL, LARGE = b"meow" * 1000, os.urandom(9 << 20)


@pytest.fixture
def odd() -> Iterator[Odd]:
    with running_odd_server() as server:
        server.files["/set/cat.png"] = SMALL
        server.files["/set/large"] = LARGE
        yield server


@pytest.fixture
def repository(folders: Folders, odd: Odd, tmp_path: Path) -> Iterator[Repository]:
    """Return a repository with `animals:v0`: two references to URLs, and one to a local file beside its copy."""
    local = tmp_path / "data" / "dog.txt"
    local.parent.mkdir()
    local.write_text("woof\n")
    prefixes = (odd.url, f"file://{tmp_path}/data")
    with open_repository(
        folders.repository,
        state=folders.state,
        author="tester",
        references=lambda: References(ReferencePolicy(prefixes)),
    ) as found:
        sources = [
            Source(bytes(local), b"copied.txt"),
            Referred(f"{odd.url}/set/cat.png"),
            Referred(f"{odd.url}/set/large"),
            Referred(f"file://{local}"),
        ]
        put_paths(found, "animals", sources, CommitOptions())
        yield found


def mount(folders: Folders, mountpoint: Path, transport: str, *follow: str) -> MountInfo:
    options = MountOptions(author="tester", transport=transport, follow_references=follow)
    return api.mount(folders, str(mountpoint), options=options)


@pytest.fixture
def version(folders: Folders, repository: Repository, mountpoint: Path, transport: str, odd: Odd) -> Path:
    """Return `animals:v0` in a mount that follows what lies on the server."""
    return Path(mount(folders, mountpoint, transport, odd.url).mountpoint, "animals", "v0")


def gets(odd: Odd) -> int:
    return sum(method == "GET" for method, _ in odd.requests)


def test_the_bytes_come_when_they_are_read(version: Path, odd: Odd) -> None:
    before = len(odd.requests)
    assert sorted(os.listdir(version)) == ["cat.png", "copied.txt", "dog.txt", "large"]
    assert (version / "cat.png").stat().st_size == len(SMALL)
    assert len(odd.requests) == before
    assert (version / "cat.png").read_bytes() == SMALL
    assert (version / "cat.png").read_bytes() == SMALL
    assert len(odd.requests) == before + 1, "what the kernel has is asked for once"
    assert (version / "large").read_bytes() == LARGE


def test_what_is_not_followed_is_refused(version: Path) -> None:
    assert errno_of((version / "dog.txt").read_bytes) == errno.EACCES
    assert (version / "copied.txt").read_text() == "woof\n"


def test_a_mount_follows_nothing_by_itself(
    folders: Folders, repository: Repository, mountpoint: Path, transport: str, odd: Odd
) -> None:
    before = len(odd.requests)
    top = Path(mount(folders, mountpoint, transport).mountpoint, "animals", "v0")
    assert errno_of((top / "cat.png").read_bytes) == errno.EACCES
    assert len(odd.requests) == before


def test_a_changed_object_is_an_error_that_says_what_is_there(version: Path, odd: Odd, folders: Folders) -> None:
    odd.files["/set/cat.png"], odd.etags["/set/cat.png"] = b"purr" * 1000, '"two"'
    assert errno_of((version / "cat.png").read_bytes) == errno.ESTALE
    [info] = api.iter_mounts(folders)

    def said() -> bool:
        text = Path(info.log).read_text()
        return 'etag "one"' in text and 'etag "two"' in text

    wait_until(said)


def test_attributes_say_how_much_is_here(version: Path) -> None:
    def state(name: str) -> bytes:
        return os.getxattr(version / name, "user.artifactfs.state")

    assert [state(name) for name in ("large", "copied.txt", "dog.txt")] == [b"missing", b"local", b"local"]
    with (version / "large").open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        assert os.pread(file.fileno(), 10, 5 << 20) == LARGE[5 << 20 :][:10]
    assert state("large") == b"partial"
    assert (version / "large").read_bytes() == LARGE
    assert state("large") == b"cached"


def test_attributes_say_what_is_known_of_a_reference(version: Path, odd: Odd) -> None:
    path = version / "cat.png"
    before = len(odd.requests)
    names = os.listxattr(path)
    found = {name.removeprefix("user.artifactfs."): os.getxattr(path, name).decode() for name in names}
    assert found["state"] == "missing"
    assert found["uri"] == f"{odd.url}/set/cat.png"
    assert found["validator"] == 'etag "one"'
    assert found["verified"] == "yes"
    assert len(odd.requests) == before, "programs that copy all attributes ask no service"
    assert os.getxattr(path, "user.artifactfs.drift") == b"none"
    odd.etags["/set/cat.png"] = '"two"'
    assert b'etag "two"' in os.getxattr(path, "user.artifactfs.drift")
    del odd.files["/set/cat.png"]
    assert b"nothing" in os.getxattr(path, "user.artifactfs.drift")
    assert errno_of(lambda: os.getxattr(version / "copied.txt", "user.artifactfs.drift")) == errno.ENODATA


def test_the_drift_of_what_is_unverified_is_not_none(version: Path, repository: Repository, odd: Odd) -> None:
    odd.etags["/set/cat.png"] = 'W/"weak"'
    put_paths(repository, "doubtful", [Referred(f"{odd.url}/set/cat.png")], CommitOptions())
    path = version.parent.parent / "doubtful" / "v0" / "cat.png"
    assert os.getxattr(path, "user.artifactfs.verified") == b"no"
    drift = os.getxattr(path, "user.artifactfs.drift")
    assert drift == b"unverified: only its size and weak ETag could be compared"


def test_the_service_is_not_asked_for_the_drift_of_what_is_not_followed(version: Path) -> None:
    assert errno_of(lambda: os.getxattr(version / "dog.txt", "user.artifactfs.drift")) == errno.EACCES


@pytest.mark.parametrize("driver", [UNION, OVERLAY])
def test_a_reference_is_copied_up_when_it_is_changed(
    version: Path, repository: Repository, folders: Folders, driver: str, odd: Odd
) -> None:
    if driver == OVERLAY and not may_overlay():
        pytest.skip("the overlay driver needs CAP_SYS_ADMIN in the initial user namespace")
    state = repository.get_collection("animals")
    staging = StagingArea(repository).create("animals", version=state.versions[0], driver=driver)
    path = api.attach_staging(folders, repository, staging=staging)
    assert path is not None
    with Path(path, "cat.png").open("ab") as file:
        file.write(b"!")
    assert Path(path, "cat.png").read_bytes() == SMALL + b"!"
    assert (version / "cat.png").read_bytes() == SMALL
    assert errno_of(lambda: Path(path, "dog.txt").open("ab").close()) == errno.EACCES
