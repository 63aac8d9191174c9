"""What a mount does, in numbers: from the shared counters to JSON, and to Prometheus text.

Threading: the supervisor's one thread.
Source: https://prometheus.io/docs/instrumenting/exposition_formats/, text format 0.0.4.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from artifactfs._version import __version__
from artifactfs.mount.kernel import shared
from artifactfs.mount.kernel.answers import name_opcode
from artifactfs.mount.kernel.codes import Opcode

if TYPE_CHECKING:
    from artifactfs.mount.kernel.supervisor import Supervisor

QUANTILES: Final = (0.5, 0.9, 0.99)


def take_figures(supervisor: Supervisor) -> dict[str, Any]:
    """Return the figures of a mount; counts are since it was mounted, upgrades included.

    `fetched_reads` and `fetched_bytes` are of the READ requests that no worker could answer from this machine;
    `fetching` is how many requests wait for that now, `fetches` what the oldest of these ask for.
    """
    mounted = supervisor.mounted
    words = _sum_rows(supervisor)
    fetcher = mounted.counters.row(shared.FETCHER_ROW)
    requests = {opcode.name.lower(): count for opcode in Opcode if (count := words[shared.BY_OPCODE + opcode])}
    if words[shared.BY_OPCODE]:
        requests["other"] = words[shared.BY_OPCODE]
    return {
        "version": __version__,
        "protocol": f"7.{mounted.agreed.minor}",
        "features": [name.lower() for name in mounted.agreed.feature_names()],
        "passthrough": mounted.settings.passthrough,
        "workers": sorted(pid for pid, row in supervisor.children.items() if row < mounted.settings.workers),
        "fetcher": next((pid for pid, row in supervisor.children.items() if row == shared.FETCHER_ROW), None),
        "restarts": supervisor.restarts,
        "upgrades": supervisor.upgrades,
        "requests": requests,
        "bytes": words[shared.BYTES],
        "fetched_reads": fetcher[shared.BY_OPCODE + Opcode.READ],
        "fetched_bytes": fetcher[shared.BYTES],
        "fetching": fetcher[shared.WAITING],
        "fetches": _list_fetches(fetcher),
        "errors": words[shared.ERRORS],
        "resent": words[shared.RESENT],
        "seconds": words[shared.TOTAL_NS] / 1e9,
        "latency_us": {f"p{round(q * 100)}": quantile(_buckets(words), q) for q in QUANTILES},
    }


def _list_fetches(fetcher: memoryview) -> list[dict[str, Any]]:
    """Return what waits; while that changes, something may be there twice or not at all."""
    words = fetcher[shared.FETCHES : shared.FETCHES + shared.FETCHES_SHOWN * shared.FETCH_WORDS].tolist()
    found: list[dict[str, Any]] = []
    for opcode, node, offset in zip(*[iter(words)] * shared.FETCH_WORDS, strict=True):
        if not opcode or len(found) == fetcher[shared.WAITING]:
            break
        found.append({"request": name_opcode(opcode), "node": node, "offset": offset})
    return found


def _sum_rows(supervisor: Supervisor) -> list[int]:
    """Return the sums of those who answer: workers and the fetcher."""
    counters = supervisor.mounted.counters
    rows = [counters.row(row).tolist() for row in (*range(supervisor.mounted.settings.workers), shared.FETCHER_ROW)]
    return [sum(column) for column in zip(*rows, strict=True)]


def _buckets(words: list[int]) -> list[int]:
    return words[shared.LATENCY : shared.LATENCY + shared.LATENCY_BUCKETS]


def quantile(buckets: list[int], share: float) -> int:
    """Return the microseconds below which a share of all requests stayed: the upper end of a bucket, a power of 2."""
    wanted, seen = share * sum(buckets), 0
    for number, count in enumerate(buckets):
        seen += count
        if count and seen >= wanted:
            return 1 << number
    return 0


def format_prometheus(supervisor: Supervisor) -> str:
    """Return all figures as Prometheus text."""
    figures = take_figures(supervisor)
    words = _sum_rows(supervisor)
    label = f'mountpoint="{_escape(supervisor.mounted.settings.mountpoint)}"'
    lines = [*_head("artifactfs_requests_total", "counter", "Requests answered, by kind.")]
    lines += [
        f'artifactfs_requests_total{{{label},kind="{kind}"}} {count}' for kind, count in figures["requests"].items()
    ]
    for name, value, kind, text in (
        ("artifactfs_read_bytes_total", figures["bytes"], "counter", "Bytes of files handed to the kernel."),
        (
            "artifactfs_request_errors_total",
            figures["errors"],
            "counter",
            "Requests answered with an error that was logged.",
        ),
        ("artifactfs_requests_resent_total", figures["resent"], "counter", "Requests that the kernel sent again."),
        ("artifactfs_worker_restarts_total", figures["restarts"], "counter", "Workers that were replaced."),
        ("artifactfs_workers", len(figures["workers"]), "gauge", "Workers that serve now."),
    ):
        lines += [*_head(name, kind, text), f"{name}{{{label}}} {value}"]
    return "\n".join([*lines, *_format_histogram(_buckets(words), label, figures["seconds"])]) + "\n"


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _format_histogram(buckets: list[int], label: str, seconds: float) -> list[str]:
    name = "artifactfs_request_seconds"
    lines, seen = _head(name, "histogram", "Seconds from a request to its answer."), 0
    for number, count in enumerate(buckets):
        seen += count
        if count:
            lines.append(f'{name}_bucket{{{label},le="{(1 << number) / 1e6:g}"}} {seen}')
    lines.append(f'{name}_bucket{{{label},le="+Inf"}} {seen}')
    return [*lines, f"{name}_sum{{{label}}} {seconds:.6f}", f"{name}_count{{{label}}} {seen}"]


def _escape(text: str) -> str:
    r"""Return a path as the value of a label, which is UTF-8: what is not becomes `\xNN`."""
    text = os.fsencode(text).decode("utf-8", "backslashreplace")
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
