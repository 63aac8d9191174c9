"""The contract of views.

A test module subclasses `ViewContract` and gives it a fixture `subject`:

    class TestMyView(ViewContract):
        @pytest.fixture
        def subject(self): ...

The tree to show is `VIEW_TREE`, with whatever the view adds above it.

Threading: tests belong to one thread.
"""

from __future__ import annotations

import errno
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from artifactfs.testing.checks import errno_of, require_equal
from artifactfs.vfs.base import ROOT_NODE, DetailView, Kind, View

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from artifactfs.testing.repositories import Content
    from artifactfs.vfs.base import Attributes

THREADS: Final = 64
VIEW_TREE: Final[Mapping[bytes, Content]] = {
    b"README": b"hello\n",
    b"empty": b"",
    b"empty-directory": {},
    b"link": "README",
    b"dangling": "nowhere/at all",
    b"not-\xff-utf8": b"odd name",
    "gr\u00f6\u00dfe".encode(): b"umlaut",
    b"new\nline": b"line",
    b"n" * 255: b"long name",
    b"images": {b"cat": bytes(range(256)) * 1200, b"same": b"hello\n", b"deep": {b"deeper": {b"file": b"deep"}}},
    b"twin": {b"deep": {b"deeper": {b"file": b"deep"}}},
    b"many": {b"f%04d" % number: b"content %d" % (number % 50) for number in range(1500)},
}
_RANGES: Final = (
    (0, 0),
    (0, 1),
    (0, 1 << 20),
    (5, 3),
    (255, 2),
    (131071, 131074),
    (307199, 9),
    (307200, 1),
    (1 << 40, 1),
)


class FullView(View, DetailView, Protocol):
    """A view with everything."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A view that shows `VIEW_TREE` at the directory `top`."""

    view: FullView
    top: int


class ViewContract:
    """What every view holds. Each method is one test; a test gets a fresh subject."""

    def test_the_root_is_a_directory_with_number_one(self, subject: Subject) -> None:
        """The kernel knows the root by this number."""
        found = subject.view.getattr(ROOT_NODE)
        require_equal((found.node, found.kind), (ROOT_NODE, Kind.DIRECTORY), "the root")

    def test_everything_is_there_byte_for_byte(self, subject: Subject) -> None:
        """A walk by listings finds the whole tree."""
        require_equal(read_tree(subject.view, subject.top), VIEW_TREE, "the tree")

    def test_listings_are_in_name_order_without_dots(self, subject: Subject) -> None:
        """Directory offsets are ordinals in name order."""
        for node in [subject.top, *(found.node for _, found in iter_nodes(subject) if found.kind is Kind.DIRECTORY)]:
            names = [name for name, _ in subject.view.read_directory(node)]
            require_equal(names, sorted(set(names) - {b".", b".."}), "the names")

    def test_listing_lookup_and_getattr_agree(self, subject: Subject) -> None:
        """The kernel mixes their answers."""
        for parent, name, found in iter_places(subject):
            require_equal(subject.view.lookup(parent, name), found, f"lookup of {name!r}")
            require_equal(subject.view.getattr(found.node), found, f"getattr of {name!r}")

    def test_sizes_are_those_of_content(self, subject: Subject) -> None:
        """Of a symbolic link, the size is its target's."""
        for _, found in iter_nodes(subject):
            if found.kind is Kind.FILE:
                data = subject.view.read(found.node, offset=0, size=1 << 20)
                require_equal(found.size, len(data), "the size of a file")
            elif found.kind is Kind.SYMLINK:
                require_equal(found.size, len(subject.view.readlink(found.node)), "the size of a link")

    def test_a_missing_name_is_enoent(self, subject: Subject) -> None:
        """Before, between and after the names that there are, and when a file is only larger than asked for."""
        many = subject.view.lookup(subject.top, b"many").node
        for parent in (subject.top, many):
            for name in (b"\x01", b"f0000.", b"zzz", b"\xff", b"readme", b"x" * 255):
                found = errno_of(lambda parent=parent, name=name: subject.view.lookup(parent, name))  # type: ignore[misc]
                require_equal(found, errno.ENOENT, f"lookup of {name!r}")

    def test_a_node_that_was_never_given_out_is_estale(self, subject: Subject) -> None:
        """Never a guess, whatever is asked."""
        view = subject.view
        for node in (2, (1 << 64) - 1, subject.top ^ (1 << 62)):
            for call in (
                lambda node=node: view.getattr(node),
                lambda node=node: view.lookup(node, b"README"),
                lambda node=node: view.read_directory(node),
                lambda node=node: view.readlink(node),
                lambda node=node: view.read(node, offset=0, size=1),
                lambda node=node: view.list_xattrs(node),
            ):
                require_equal(errno_of(call), errno.ESTALE, f"a call with the node {node:#x}")

    def test_a_read_is_a_slice(self, subject: Subject) -> None:
        """Past the end is not an error."""
        images = subject.view.lookup(subject.top, b"images").node
        node = subject.view.lookup(images, b"cat").node
        whole = bytes(range(256)) * 1200
        for offset, size in _RANGES:
            found = subject.view.read(node, offset=offset, size=size)
            require_equal(found, whole[offset : offset + size], f"{size} bytes from {offset}")

    def test_the_wrong_kind_of_node_has_its_errno(self, subject: Subject) -> None:
        """As read(2), readlink(2) and path_resolution(7) have it."""
        view, top = subject.view, subject.top
        file, link = (view.lookup(top, name).node for name in (b"README", b"link"))
        require_equal(errno_of(lambda: view.read(top, offset=0, size=1)), errno.EISDIR, "reading a directory")
        require_equal(errno_of(lambda: view.read(link, offset=0, size=1)), errno.EINVAL, "reading a link")
        require_equal(errno_of(lambda: view.readlink(file)), errno.EINVAL, "the target of a file")
        require_equal(errno_of(lambda: view.readlink(top)), errno.EINVAL, "the target of a directory")
        for node in (file, link):
            require_equal(errno_of(lambda node=node: view.lookup(node, b"x")), errno.ENOTDIR, "a name in no directory")  # type: ignore[misc]
            require_equal(errno_of(lambda node=node: view.read_directory(node)), errno.ENOTDIR, "listing no directory")  # type: ignore[misc]

    def test_numbers_stay(self, subject: Subject) -> None:
        """A second walk gives the same numbers."""
        require_equal(list(iter_nodes(subject)), list(iter_nodes(subject)), "the nodes")

    def test_directories_have_a_number_for_each_place(self, subject: Subject) -> None:
        """The kernel allows a directory one parent."""
        nodes = [found.node for _, found in iter_nodes(subject) if found.kind is Kind.DIRECTORY]
        require_equal(len(set(nodes)), len(nodes), "different directories")

    def test_equal_numbers_are_equal_files(self, subject: Subject) -> None:
        """Whoever sees two names of one number takes them for one file."""
        seen: dict[int, tuple[Attributes, bytes]] = {}
        for _, found in iter_nodes(subject):
            if found.kind is Kind.FILE:
                value = (found, subject.view.read(found.node, offset=0, size=1 << 20))
                require_equal(seen.setdefault(found.node, value), value, "what one number stands for")

    def test_every_extended_attribute_that_is_listed_has_a_value(self, subject: Subject) -> None:
        """And one that is not listed is ENODATA."""
        for _, found in iter_nodes(subject):
            for name in subject.view.list_xattrs(found.node):
                require_equal(name.startswith(b"user.artifactfs."), True, f"the prefix of {name!r}")  # noqa: FBT003
                subject.view.get_xattr(found.node, name)
            absent = errno_of(lambda node=found.node: subject.view.get_xattr(node, b"user.artifactfs.none"))  # type: ignore[misc]
            require_equal(absent, errno.ENODATA, "an absent attribute")

    def test_figures_are_those_of_a_disk(self, subject: Subject) -> None:
        """`df` divides by them."""
        found = subject.view.statfs()
        in_order = 0 <= found.blocks_available <= found.blocks_free <= found.blocks and found.block_size > 0
        require_equal(in_order, True, f"the order of {found}")  # noqa: FBT003

    def test_many_threads_see_the_same(self, subject: Subject) -> None:
        """All at once, on a view that has not been looked into yet."""
        failures: list[BaseException] = []

        def walk() -> None:
            try:
                require_equal(read_tree(subject.view, subject.top), VIEW_TREE, "the tree, in a thread")
            except BaseException as error:  # noqa: BLE001 (it is raised below, in the thread of the test)
                failures.append(error)

        threads = [threading.Thread(target=walk) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


def read_tree(view: View, node: int) -> dict[bytes, Content]:
    """Return everything below a directory of a view, as nested dicts."""
    found: dict[bytes, Content] = {}
    for name, attributes in view.read_directory(node):
        match attributes.kind:
            case Kind.DIRECTORY:
                found[name] = read_tree(view, attributes.node)
            case Kind.SYMLINK:
                found[name] = view.readlink(attributes.node).decode()
            case Kind.FILE:
                found[name] = view.read(attributes.node, offset=0, size=attributes.size)
    return found


def iter_places(subject: Subject) -> Iterator[tuple[int, bytes, Attributes]]:
    """Yield parent, name and attributes of everything that a subject shows, depth first in name order."""
    waiting = [subject.top]
    while waiting:
        parent = waiting.pop()
        for name, found in subject.view.read_directory(parent):
            yield parent, name, found
            if found.kind is Kind.DIRECTORY:
                waiting.append(found.node)


def iter_nodes(subject: Subject) -> Iterator[tuple[bytes, Attributes]]:
    """Yield name and attributes of everything that a subject shows."""
    for _, name, found in iter_places(subject):
        yield name, found
