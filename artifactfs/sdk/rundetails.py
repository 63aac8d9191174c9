"""What a run of this program is called and what is known about it.

Used by `run.py`. Threading: may be shared by threads.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from artifactfs.clock import format_time_ns
from artifactfs.errors import UsageError
from artifactfs.runs.lease import Heartbeat
from artifactfs.runs.processes import has_ended

if TYPE_CHECKING:
    from artifactfs.runs.events import Circumstances
    from artifactfs.runs.state import RunState
    from artifactfs.sdk.ending import Ending
    from artifactfs.sdk.workspace import Workspace


class RunDetails:
    """Id, state and the like of a run that goes on; `Run` adds what it does."""

    def __init__(self, workspace: Workspace, state: RunState, *, lease_ns: int | None) -> None:
        self._workspace = workspace
        self._record = state
        self._config = dict(state.config)
        self._heartbeat: Heartbeat | None = None
        if lease_ns is not None:
            self._heartbeat = Heartbeat(self._renew, lease_ns=lease_ns)
            self._heartbeat.start()
        self._guard = threading.Lock()
        self._inputs = list(state.inputs)
        self._outputs = list(state.outputs)
        self._made = set(state.made)
        self._finished_ns: int | None = None
        self._exit_code: int | None = None
        self.ending: Ending | None = None
        self._pid = os.getpid()

    @property
    def id(self) -> str:
        """A UUID of version 7, which no other run has."""
        return self._record.id

    @property
    def name(self) -> str:
        """The name for people; the id's first part when none was given."""
        return self._record.name or self.id.partition("-")[0]

    @property
    def job_type(self) -> str:
        """What kind of work it is."""
        return self._record.job_type

    @property
    def project(self) -> str:
        """What it belongs to."""
        return self._record.project

    @property
    def notes(self) -> str:
        """Free text."""
        return self._record.notes

    @property
    def tags(self) -> tuple[str, ...]:
        """Words."""
        return self._record.tags

    @property
    def config(self) -> dict[str, Any]:
        """JSON values by key, as recorded; changing the copy changes nothing."""
        return dict(self._config)

    @property
    def author(self) -> str:
        """Who runs it."""
        return self._record.author

    @property
    def started_at(self) -> str:
        """When it began, RFC 3339 in UTC."""
        return format_time_ns(self._record.started_ns)

    @property
    def finished_at(self) -> str | None:
        """When it ended, RFC 3339 in UTC; None while it runs."""
        return None if self._finished_ns is None else format_time_ns(self._finished_ns)

    @property
    def state(self) -> str:
        """`running`, and once it is finished `finished` or `failed`."""
        if self._finished_ns is None:
            return "running"
        return "failed" if self._exit_code else "finished"

    @property
    def host(self) -> str:
        """The name of the host."""
        return self._record.host

    @property
    def user(self) -> str:
        """Who runs it, by the system's name."""
        return self._record.user

    @property
    def parent(self) -> str:
        """The id of the run in a program of which it was begun; empty for none."""
        return self._record.parent

    @property
    def circumstances(self) -> Circumstances:
        """Command line, working directory, git, and more, as recorded: without what looks like a secret."""
        return self._record.circumstances

    @property
    def exit_code(self) -> int | None:
        """0 is success; None while it runs."""
        return self._exit_code

    @property
    def inputs(self) -> list[str]:
        """Versions that it read, each `NAME:vN`, in order of first use."""
        return list(dict.fromkeys(self._inputs))

    @property
    def outputs(self) -> list[str]:
        """Versions that it made, each `NAME:vN`, in order."""
        return list(dict.fromkeys(self._outputs))

    def _renew(self) -> int:
        return self._workspace.runs.renew(self.id, started_ns=self._record.started_ns)

    def _is_of_parent(self) -> bool:
        """Return whether this is a forked child, and the process that began the run goes on."""
        if os.getpid() == self._pid:
            return False
        process = self._record.circumstances.process
        return process is None or not has_ended(process, host=process.host)

    def _check_running(self, doing: str) -> None:
        if self._finished_ns is not None:
            msg = f"cannot {doing}: the run {self.name} is finished"
            raise UsageError(msg, hint="begin another with artifactfs.init()", subject=self.id)

    def __repr__(self) -> str:
        """Return name and state."""
        state = "running" if self._finished_ns is None else f"finished with {self._exit_code}"
        return f"<Run {self.name} {state}>"
