"""How to speak to object stores, from the environment and the services' own configuration files.

Environment variables are read by obstore itself, and go before files. What obstore does not read are the files of the
AWS tools; static keys, region and endpoint of the chosen profile are taken from them. Nothing is stored, and nothing
is put into a message.

Used by `sdk` and the command line. Threading: functions; they read files.

Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files".
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from artifactfs.blobstore.connecting import ENDPOINTS, RemoteOptions, find_fetched, find_remembered
from artifactfs.errors import ConfigurationError, UsageError
from artifactfs.settings import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from artifactfs.reference.references import References
    from artifactfs.settings import Settings

_VARIABLES: Final = {
    "aws_access_key_id": ("AWS_ACCESS_KEY_ID",),
    "aws_secret_access_key": ("AWS_SECRET_ACCESS_KEY",),
    "aws_session_token": ("AWS_SESSION_TOKEN", "AWS_TOKEN"),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "endpoint_url": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
}
_OWN_CREDENTIALS: Final = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI")
_SECRETS: Final = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
LONGEST_SECONDS: Final = 86_400.0
MOST_CONNECTIONS: Final = 1024


def find_remote_options(
    environ: Mapping[str, str], settings: Settings, *, cache: str = "", state: str = ""
) -> RemoteOptions:
    """Return how this user speaks to object stores.

    Args:
        environ: the environment.
        settings: the configuration file.
        cache: the user's cache directory; empty keeps nothing of what is fetched.
        state: the user's state directory; empty remembers nothing of logs.

    Raises:
        ConfigurationError: a setting of the configuration file cannot be used. What is wrong with the files of a
            service is an error for who speaks to that service.
    """
    found: dict[str, Any] = {}
    for name, parse in _SETTINGS.items():
        if text := environ.get(f"ARTIFACTFS_{name.upper()}") or getattr(settings, name):
            found[name] = parse(text, name)
    if cache:
        found["cache"] = find_fetched(cache)
    if state:
        found["remembered"] = find_remembered(state)
    endpoints = {name: environ[name] for names in ENDPOINTS.values() for name in names if name in environ}
    try:
        found["config"] = find_file_config(environ)
    except ConfigurationError as error:
        found["refused"] = {"s3": error}
    return RemoteOptions(endpoints=endpoints, **found)


def find_references(environ: Mapping[str, str], settings: Settings, *, cache: str = "") -> References:
    """Return what reads references for this user: below the prefixes that the configuration file allows.

    Args:
        environ: the environment.
        settings: the configuration file.
        cache: the user's cache directory; empty keeps nothing of what is fetched.

    Raises:
        ConfigurationError: a prefix cannot be one.
    """
    # Most commands follow no reference.
    from artifactfs.reference.policy import ReferencePolicy  # noqa: PLC0415
    from artifactfs.reference.references import References  # noqa: PLC0415

    return References(ReferencePolicy(find_followed(settings)), find_remote_options(environ, settings, cache=cache))


def find_followed(settings: Settings, *, for_others: bool = False) -> tuple[str, ...]:
    """Return the URI prefixes below which references are followed, in their one spelling.

    Args:
        settings: the configuration file.
        for_others: a server reads for users who have not this user's rights: then nothing is followed unless the file
            says so.

    Raises:
        ConfigurationError: a prefix cannot be one.
    """
    from artifactfs.reference.policy import DEFAULT_PREFIXES  # noqa: PLC0415
    from artifactfs.reference.uris import normalize_prefix  # noqa: PLC0415

    if settings.follow_references is None:
        return () if for_others else DEFAULT_PREFIXES
    try:
        return tuple(map(normalize_prefix, settings.follow_references))
    except UsageError as error:
        msg = f"in the configuration file {settings.path} follow_references: {error.message}"
        raise ConfigurationError(msg, hint=error.hint, subject=settings.path) from None


def find_file_config(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what the AWS tools' files say and the environment does not, by environment variable in lower case.

    Raises:
        ConfigurationError: the profile that AWS_PROFILE names is not there, or its keys come from a program.
    """
    profile = environ.get("AWS_PROFILE") or "default"
    paths = _file(environ, "AWS_CONFIG_FILE", "config"), _file(environ, "AWS_SHARED_CREDENTIALS_FILE", "credentials")
    sections = _read_section(paths[0], profile, prefix="profile "), _read_section(paths[1], profile)
    found = {**(sections[0] or {}), **(sections[1] or {})}
    has_own = any(environ.get(name) for name in _OWN_CREDENTIALS)
    if not has_own and environ.get("AWS_PROFILE") and "aws_access_key_id" not in found:
        if sections == (None, None):
            msg = f"there is no AWS profile {profile!r}, which AWS_PROFILE names, in {paths[0]} or {paths[1]}"
            raise ConfigurationError(msg, hint="`aws configure list-profiles` lists them; or unset AWS_PROFILE")
        msg = f"the AWS profile {profile!r} has no static keys"
        raise ConfigurationError(msg, hint='eval "$(aws configure export-credentials --format env)" exports others')
    return {
        _VARIABLES[name][0].lower(): value
        for name, value in found.items()
        if name in _VARIABLES
        and not any(environ.get(variable) for variable in _VARIABLES[name])
        and not (has_own and name in _SECRETS)
    }


def _file(environ: Mapping[str, str], variable: str, name: str) -> str:
    home = environ.get("HOME") or os.path.expanduser("~")
    return environ.get(variable) or os.path.join(home, ".aws", name)


def _read_section(path: str, profile: str, *, prefix: str = "") -> dict[str, str] | None:
    if not os.path.exists(path):
        return None
    import configparser  # noqa: PLC0415 (most machines have no such file)

    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        # The reason may repeat a line of the file.
        msg = f"the file {path} cannot be read"
        raise ConfigurationError(msg, hint="it is written by `aws configure`", subject=path) from None
    section = profile if profile == "default" or not prefix else prefix + profile
    return dict(parser[section]) if parser.has_section(section) else None


def _parse_seconds(text: str, name: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= LONGEST_SECONDS:
        raise _refused(text, name, f"a number of seconds, at most {LONGEST_SECONDS:g}")
    return seconds


def _parse_count(text: str, name: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MOST_CONNECTIONS:
        raise _refused(text, name, f"a number from 1 to {MOST_CONNECTIONS}")
    return int(text)


def _parse_truth(text: str, name: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise _refused(text, name, "yes or no")
    return _TRUTHS[text.lower()]


def _refused(text: str, name: str, what: str) -> ConfigurationError:
    msg = f"{text!r} cannot be {name}"
    return ConfigurationError(msg, hint=f"{name} in the configuration file, or ARTIFACTFS_{name.upper()}, is {what}")


_TRUTHS: Final = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}
_SETTINGS: Final[dict[str, Callable[[str, str], Any]]] = {
    "poll_seconds": _parse_seconds,
    "deadline_seconds": _parse_seconds,
    "connections": _parse_count,
    "bandwidth": lambda text, _: parse_size(text),
    "cache_size": lambda text, _: parse_size(text),
    "cache_free": lambda text, _: parse_size(text),
    "offline": _parse_truth,
}
"""What each setting is made from."""
