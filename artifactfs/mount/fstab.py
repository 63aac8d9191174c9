"""The words after `-o` of mount(8) and in the fourth column of fstab(5), said as options of `artifactfs mount`.

Used by the command line. Threading: pure functions.

Source: mount(8), "filesystem-independent mount options" and "external helpers"; systemd.mount(5).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from artifactfs.errors import UsageError
from artifactfs.mount.kernel_options import is_kernel_option
from artifactfs.paths import printable

_FLAGS: Final = {
    "passthrough": "--passthrough",
    "no_passthrough": "--no-passthrough",
    "quick_wakeups": "--quick-wakeups",
    "no_quick_wakeups": "--no-quick-wakeups",
    "freeze_aliases": "--freeze-aliases",
    "share_parent": "--share-parent",
    "debug": "--debug",
    "offline": "--offline",
}
_VALUES: Final = {
    "artifact": "--artifact",
    "uid": "--uid",
    "gid": "--gid",
    "transport": "--transport",
    "workers": "--workers",
    "metrics": "--metrics",
    "cache_size": "--cache-size",
}
_ENVIRONMENT: Final = {
    "config": "ARTIFACTFS_CONFIG",
    "state": "ARTIFACTFS_STATE",
    "cache": "ARTIFACTFS_CACHE",
    "runtime": "ARTIFACTFS_RUNTIME",
}
# fmt: off
_IGNORED: Final = frozenset({
    "ro", "rw", "defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "noowner", "group",
    "nogroup", "nofail", "fail", "_netdev", "sync", "async", "dirsync", "atime", "noatime", "diratime", "nodiratime",
    "relatime", "norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime", "iversion", "noiversion",
    "mand", "nomand", "suid", "nosuid", "dev", "nodev", "exec", "silent", "loud", "symfollow", "nosymfollow",
})
# fmt: on
"""Words that ask for nothing here: who mounts, and when, is decided by others, and mounts are what they are."""
_IGNORED_BEFORE: Final = ("x-", "X-", "comment=", "user=", "uhelper=", "helper=", "subtype=", "fsname=")


@dataclass(frozen=True, slots=True)
class FstabOptions:
    """What a list of words asks for.

    Attributes:
        arguments: options of `artifactfs mount`.
        environment: variables to set for it.
    """

    arguments: tuple[str, ...]
    environment: dict[str, str]


def split_words(text: str) -> list[str]:
    """Return the words between commas; those within double quotes belong to a word, and the quotes go.

    >>> split_words('ro,context="system_u:object_r:container_file_t:s0:c1,c2",_netdev')
    ['ro', 'context=system_u:object_r:container_file_t:s0:c1,c2', '_netdev']
    """
    words, word, is_quoted = [], "", False
    for character in text:
        if character == '"':
            is_quoted = not is_quoted
        elif character == "," and not is_quoted:
            words.append(word)
            word = ""
        else:
            word += character
    return [found for found in [*words, word] if found]


def parse_fstab(text: str, *, for_others: bool, is_sloppy: bool = False) -> FstabOptions:
    """Return what the words ask for.

    Args:
        text: words between commas.
        for_others: whether others are let in when nothing is said: file systems that root mounts are for everybody.
        is_sloppy: whether unknown words are passed over.

    Raises:
        UsageError: a word is unknown, or lacks its value.

    >>> parse_fstab("rw,nofail,_netdev,x-systemd.automount,uid=1000,keep", for_others=True).arguments
    ('--uid', '1000', '--keep', '--allow-other')
    """
    arguments: list[str] = []
    environment: dict[str, str] = {}
    is_kept = True
    for word in split_words(text):
        name, equals, value = word.partition("=")
        if word in ("allow_other", "noallow_other"):
            for_others = word == "allow_other"
        elif word in ("keep", "nokeep"):
            is_kept = word == "keep"
        elif word in _FLAGS:
            arguments.append(_FLAGS[word])
        elif name in _VALUES and equals:
            arguments += [_VALUES[name], value]
        elif name in _ENVIRONMENT and equals:
            environment[_ENVIRONMENT[name]] = value
        elif is_kernel_option(word):
            arguments += ["-o", word]
        elif not (word in _IGNORED or word.startswith(_IGNORED_BEFORE) or is_sloppy):
            raise _unknown(word)
    arguments += ["--keep"] if is_kept else []
    return FstabOptions((*arguments, *(["--allow-other"] if for_others else [])), environment)


def _unknown(word: str) -> UsageError:
    shown = printable(word.encode(errors="surrogateescape"))
    if word == "remount":
        return UsageError("a mount cannot be changed while it is up", hint="unmount it, and mount it again")
    return UsageError(f"unknown option {shown}", hint="docs/containers.md lists them; -s passes unknown ones over")
