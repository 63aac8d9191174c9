"""Options of a mount that the kernel knows: `noexec`, and the labels of SELinux.

Used by the transports and by what reads lines of fstab(5). Threading: functions without state.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

NOEXEC: Final = "noexec"
LABELS: Final = ("context", "fscontext", "defcontext", "rootcontext")
_FILESYSTEMS: Final = "/proc/filesystems"


def is_kernel_option(text: str) -> bool:
    """Return whether an option is one that this module knows.

    >>> is_kernel_option("context=system_u:object_r:container_file_t:s0:c1,c2")
    True
    """
    name, equals, value = text.partition("=")
    return text == NOEXEC or (name in LABELS and bool(equals) and bool(value))


def labels_in_force(options: tuple[str, ...], *, filesystems: str = _FILESYSTEMS) -> list[str]:
    """Return the labels among the options as the kernel takes them: none, where SELinux is not loaded.

    The kernel refuses a label that nobody reads; mount(8) leaves it out, too. One with a comma is quoted.

    Source: selinux_sb_eat_lsm_opts (security/selinux/hooks.c); mount(8), "context=".
    """
    try:
        is_loaded = "selinuxfs" in Path(filesystems).read_text().split()
    except OSError:
        is_loaded = False
    if not is_loaded:
        return []
    parts = [option.partition("=") for option in options if option != NOEXEC]
    return [f'{name}="{value}"' if "," in value else f"{name}={value}" for name, _, value in parts]
