"""What a volume is to show, as a pod says it in `volumeAttributes`.

Used by `services`. Threading: immutable values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from artifactfs.errors import UsageError
from artifactfs.mount.kernel_options import NOEXEC, is_kernel_option
from artifactfs.paths import parse_ref

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

READ_ONLY: Final = "ro"
STAGING: Final = "staging"
KEEP, COMMIT, DISCARD = "keep", "commit", "discard"
EPHEMERAL: Final = "csi.storage.k8s.io/ephemeral"
_OF_KUBERNETES: Final = "csi.storage.k8s.io/"
_NAMES: Final = frozenset({"artifact", "mode", "pin", "atEnd"})
_BOOLEANS: Final = {"": False, "false": False, "true": True}
_FLAGS: Final = frozenset({"ro", "rw", "nosuid", "nodev", "noatime", "relatime", NOEXEC})


@dataclass(frozen=True, slots=True)
class Wish:
    """What a volume is to show.

    Attributes:
        artifact: REF of a version.
        mode: `ro`, or `staging`: a staging directory over it.
        pin: whether no prune on any machine may take the version away meanwhile.
        at_end: what becomes of changes in a staging directory: `keep`, `commit` or `discard`.
        is_read_only: whether the pod may not write, even in a staging directory.
        is_noexec: whether nothing in it may be run.
    """

    artifact: str
    mode: str = READ_ONLY
    pin: bool = False
    at_end: str = KEEP
    is_read_only: bool = False
    is_noexec: bool = False


def parse_wish(context: Mapping[str, str], *, is_read_only: bool, flags: Sequence[str]) -> Wish:
    """Return what attributes and mount flags ask for.

    Raises:
        UsageError: an attribute is missing, unknown or has no such value; a flag is unknown; it is not for a pod alone.
        InvalidNameError: `artifact` is no REF.
    """
    unknown = sorted(name for name in context if name not in _NAMES and not name.startswith(_OF_KUBERNETES))
    if unknown:
        msg = f"unknown volume attribute {unknown[0]!r}"
        raise UsageError(msg, hint="there are artifact, mode, pin and atEnd")
    if context.get(EPHEMERAL, "true") != "true":
        msg = "volumes are inline, of one pod: there are no persistent ones"
        raise UsageError(msg)
    for flag in flags:
        if flag not in _FLAGS and not is_kernel_option(flag):
            msg = f"unknown mount flag {flag!r}"
            raise UsageError(msg)
    mode = _choose(context, "mode", (READ_ONLY, STAGING))
    at_end = _choose(context, "atEnd", (KEEP, COMMIT, DISCARD))
    if "atEnd" in context and mode != STAGING:
        msg = "atEnd is for mode: staging"
        raise UsageError(msg)
    return Wish(
        _check_artifact(context.get("artifact", "")),
        mode,
        _parse_boolean(context, "pin"),
        at_end,
        is_read_only=is_read_only or "ro" in flags,
        is_noexec=NOEXEC in flags,
    )


def _check_artifact(text: str) -> str:
    if not text:
        msg = "the volume attribute artifact is missing"
        raise UsageError(msg, hint="artifact: NAME, NAME:vN or NAME:ALIAS")
    ref = parse_ref(text)
    if ref.path or ref.staging is not None:
        msg = f"{text} is not a version"
        raise UsageError(msg, hint="artifact: NAME, NAME:vN or NAME:ALIAS")
    return text


def _choose(context: Mapping[str, str], name: str, values: tuple[str, ...]) -> str:
    value = context.get(name, values[0])
    if value not in values:
        msg = f"the volume attribute {name} is {value!r}"
        raise UsageError(msg, hint=f"it can be {', '.join(values)}")
    return value


def _parse_boolean(context: Mapping[str, str], name: str) -> bool:
    value = context.get(name, "")
    if value not in _BOOLEANS:
        msg = f"the volume attribute {name} is {value!r}"
        raise UsageError(msg, hint="it can be true or false")
    return _BOOLEANS[value]
