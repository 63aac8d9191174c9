"""Fixtures: a repository with something of everything, a client of its API, a server of its pages and a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.serve.browser import open_browser, serve
from tests.serve.support import Client, fill, open_client


@pytest.fixture(scope="session")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a repository to be looked at; nothing may change it."""
    folder = tmp_path_factory.mktemp("shown")
    fill(folder)
    return folder


@pytest.fixture
def client(shown: Path) -> Iterator[Client]:
    """Return a client of an API that shows `shown`."""
    with open_client(shown) as found:
        yield found


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[Client]:
    """Return a client of an API that may change a repository of its own."""
    fill(tmp_path)
    with open_client(tmp_path, may_write=True) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a real browser."""
    with open_browser() as found:
        yield found


@pytest.fixture(scope="module")
def address(shown: Path) -> Iterator[str]:
    """Return where a real server shows `shown`."""
    with serve(shown) as url:
        yield url
