"""`artifactfs ui`: a web page of the repository."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from artifactfs.errors import ConfigurationError

from .options import Command
from .output import print_json
from .session import current_session

if TYPE_CHECKING:
    from types import ModuleType

    from artifactfs.blobstore.diskcache import DiskCache

    from .session import Session

PORT = 8265
TOKEN_VARIABLE = "ARTIFACTFS_UI_TOKEN"  # noqa: S105 (a name)


@click.command("ui", cls=Command)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), help=f"The port; 0 takes one that is free. [default: {PORT}]")
@click.option("--open", "is_open", is_flag=True, help="Open the page in the browser.")
@click.option("--write", is_flag=True, help="Let the page move aliases, edit versions, commit and discard.")
@click.option("--allow-host", "hosts", multiple=True, metavar="NAME", help="Another name of this server; repeatable.")
def command(*, host: str, port: int | None, is_open: bool, write: bool, hosts: tuple[str, ...]) -> None:
    """Show the repository as a web page: catalogue, files, lineage, differences, history, mounts.

    The address is printed; Ctrl-C ends it. Beyond this machine, and with --write, a token is required, which is in
    the address. ARTIFACTFS_UI_TOKEN sets it, and then it is always required. `/api` is the page's API.
    """
    serving_module = _load()
    session = current_session()
    serving = serving_module.Serving(
        host, PORT if port is None else port, write, os.environ.get(TOKEN_VARIABLE, ""), hosts
    )
    logging.basicConfig(level=logging.WARNING, format="artifactfs: %(message)s")
    with (
        session.open_repository() as repository,
        serving_module.open_context(repository, session.places, cache=_find_cache(session), may_write=write) as context,
    ):
        listener = serving_module.listen(serving)
        url = serving_module.format_url(serving, listener)

        def say() -> None:
            if session.json:
                print_json({"url": url, "pid": os.getpid(), "write": write})
            else:
                click.echo(url)
            session.note(f"shows {repository.location}; Ctrl-C ends it")
            if is_open:
                click.launch(url)

        with suppress(KeyboardInterrupt):  # its ordinary end
            serving_module.serve(context, serving, listener, on_start=say)


def _load() -> ModuleType:
    try:
        from artifactfs.serve import server
    except ImportError as error:
        msg = f"the web page needs more than is installed: {error}"
        raise ConfigurationError(msg, hint="pip install 'artifactfs[ui]'") from error
    return server


def _find_cache(session: Session) -> DiskCache | None:
    from artifactfs.blobstore.cachequota import CacheLimits
    from artifactfs.blobstore.diskcache import DiskCache
    from artifactfs.credentials import find_remote_options
    from artifactfs.settings import load_settings

    options = find_remote_options(os.environ, load_settings(os.environ), cache=session.places.cache)
    if not os.path.isdir(options.cache):
        return None
    return DiskCache(options.cache, CacheLimits(options.cache_size, options.cache_free))
