"""Masking what looks like a secret, before anything about a run is recorded.

Records cannot be taken back, so this errs on the side of masking. A value is masked because of its name (`--token X`,
`api_key=X`), because of its form (tokens of well-known services, credentials in a URL), or because an environment
variable with such a name has it. What a program prints or writes into files is not looked at.

Used by whoever records runs. Threading: a Masker is immutable.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MASK: Final = "***"
SHORTEST: Final = 6
"""Values of secret variables that are shorter are not searched for in other texts: they are words like `true`."""

_WORDS: Final = (
    "password|passwd|passphrase|pwd|secrets?|credentials?|creds|apikey|authorization|bearer|cookie|dsn|netrc|"
    "connection_?string|(?:api|access|account|auth|encryption|license|master|private|secret|service|shared|signing|ssh|"
    "storage|subscription)_?keys?(?:_id)?|(?:access|auth|secret)_?id|session_?id|sas|signature|pat|pass|token|tokens|jwt|otp|pin"
)
_NAME = re.compile(rf"(?:(?:^|_)(?:{_WORDS})|[a-z0-9]_key)(?:_(?:value|string|text|base64|b64|json|pem))?$")
_HARMLESS: Final = (
    "answer|audio|batch|cache|candidate|caption|category|class|cluster|col|column|composite|context|data|dataset|dict|"
    "dir|domain|embedding|feature|features|field|file|filter|foreign|group|hash|header|id|idempotency|image|img|index|"
    "input|instruction|join|json|label|lookup|loss|map|message|messages|metadata|metric|metrics|model|monitor|n|name|"
    "natural|num|object|obs|order|output|params|parent|partition|path|prediction|primary|prompt|public|query|question|"
    "random|range|record|reference|registry|response|result|reward|routing|row|sample|search|seed|shard|sort|split|"
    "state|step|surrogate|table|target|task|text|time|timestamp|type|unique|value|video|weight|x|y"
)
"""Words before `_key` in the names of columns and the like."""
_NOT_SECRET = re.compile(
    rf"(?:^|_)(?:{_HARMLESS})_key$|"
    r"(?:^|_)(?:(?:bos|eos|pad|unk|sep|cls|mask|stop|image|special|start|end|max|min|num|n|new|total|per|prompt|"
    r"completion|input|output|context|decoder|encoder)_tokens?|\d+_tokens|tokens?_(?:id|count|type)s?)$|^tokens$"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_NO_WORD = re.compile(r"[^a-z0-9]+")
_URL = re.compile(r"(?<=://)[^/\s@]+@")
_PAIR = re.compile(r"(?P<name>[A-Za-z][\w.\-]*)[\"']?\s*[=:]\s*")
_VALUE = re.compile(r"(?P<quote>[\"'])(?:(?!(?P=quote)).)*(?P=quote)?|[^\s\"'&,;}]+", re.DOTALL)
_BRACKET = re.compile(r"[{}\[\]]|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
_OPTION = re.compile(r"-{0,2}[\w.\-]+")
_LOGIN_OPTIONS: Final = ("-u", "--user", "--proxy-user", "--auth")
_LOGIN = re.compile(rf"(?<!\S)((?:{'|'.join(_LOGIN_OPTIONS)})(?:\s+|=)[^\s:]+:)(?!//|\d+(?!\S))\S+")
"""A user and a password, as curl takes them; no URL, and no number of a group or port."""
_SIGNATURE = re.compile(r"(?<=[?&]sig=)[^&\s\"']+")
"""In a URL of Azure; elsewhere `sig` may be anything."""
_HEADER = re.compile(r"(?i)\b(bearer|basic|token)\s+[A-Za-z0-9+/_.~=\-]{8,}")
_TOKENS = re.compile(
    r"\b(?:"
    r"(?:AKIA|ASIA)[0-9A-Z]{16}"  # Amazon
    r"|gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w\-]{16,}"
    r"|hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_\-]{16,}|sk_(?:live|test)_\w{10,}|xox[abposr]-[\w\-]{10,}"
    r"|AIza[\w\-]{30,}|ya29\.[\w\-]{20,}|pypi-[\w\-]{20,}|npm_[A-Za-z0-9]{30,}|dop_v1_[0-9a-f]{30,}"
    r"|eyJ[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]*"  # JSON web tokens
    r")|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*"
)


def is_secret_name(name: str) -> bool:
    """Return whether a value under this name is to be masked.

    >>> [is_secret_name(name) for name in ("DB_PASSWORD", "apiKey", "hf-token", "max_tokens", "tokenizer", "seed")]
    [True, True, True, False, False, False]
    """
    words = _NO_WORD.sub("_", _CAMEL.sub("_", name).lower()).strip("_")
    return _NAME.search(words) is not None and _NOT_SECRET.search(words) is None


class Masker:
    """Masks texts, command lines and JSON values.

    Args:
        environ: the environment of the process: what its secret variables hold is masked wherever it appears.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        # PWD is the working directory.
        named = {value for name, value in environ.items() if name != "PWD" and is_secret_name(name)}
        known = {value for value in named if len(value) >= SHORTEST}
        self._known = sorted(known, key=len, reverse=True)

    def mask_text(self, text: str) -> str:
        """Return a text with what looks like a secret replaced by `***`."""
        for value in self._known:
            text = text.replace(value, MASK)
        text = _URL.sub(MASK + "@", text)
        text = _SIGNATURE.sub(MASK, _LOGIN.sub(rf"\1{MASK}", text))
        text = _HEADER.sub(lambda match: f"{match[1]} {MASK}", text)
        return _TOKENS.sub(MASK, _mask_pairs(text))

    def mask_arguments(self, arguments: Iterable[str]) -> tuple[str, ...]:
        """Return a command line, masked: `--password X`, `--password=X`, `-H "Authorization: X"` and the like."""
        found: list[str] = []
        follows, before = False, ""
        for argument in arguments:
            option, before = before, argument
            if follows and not argument.startswith("--"):
                found.append(MASK)
                follows = False
                continue
            name, equals, _ = argument.partition("=")
            is_option = argument.startswith("-")
            follows = is_option and not equals and is_secret_name(name)
            if option in _LOGIN_OPTIONS:
                found.append(self.mask_text(f"{option} {argument}").removeprefix(f"{option} "))
                continue
            is_secret = bool(equals) and _OPTION.fullmatch(name) is not None and is_secret_name(name)
            found.append(f"{name}={MASK}" if is_secret else self.mask_text(argument))
        return tuple(found)

    def mask_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return JSON values by key with those masked that look like secrets, at any depth.

        Below a secret name everything is, numbers too; what tells nothing stays: true, false, null and empty texts.
        """
        return {key: self._mask_value(value, is_secret=is_secret_name(key)) for key, value in values.items()}

    def _mask_value(self, value: Any, *, is_secret: bool) -> Any:
        if isinstance(value, dict):
            return {
                key: self._mask_value(item, is_secret=is_secret or is_secret_name(key)) for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            return [self._mask_value(item, is_secret=is_secret) for item in value]
        if value is None or isinstance(value, bool) or value == "":
            return value
        if is_secret:
            return MASK
        return self.mask_text(value) if isinstance(value, str) else value

    def mask_details(self, details: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a run is given (name, job type, project, notes, tags, config), masked."""
        found = {key: self.mask_text(value) if isinstance(value, str) else value for key, value in details.items()}
        found["tags"] = tuple(self.mask_text(tag) for tag in details.get("tags", ()))
        found["config"] = self.mask_values(details.get("config", {}))
        return found


def strip_credentials(url: str) -> str:
    """Return a URL without the user and password in it.

    >>> strip_credentials("https://ann:pw@example.org/x.git"), strip_credentials("git@example.org:x.git")
    ('https://example.org/x.git', 'git@example.org:x.git')
    """
    return _URL.sub("", url)


def _mask_pairs(text: str) -> str:
    """Return a text with the values of `name=value` and `"name": "value"` masked where the name asks for it."""
    found, at = [], 0
    for pair in _PAIR.finditer(text):
        value = _VALUE.match(text, pair.end()) if pair.start() >= at and is_secret_name(pair["name"]) else None
        if value is not None:
            quote = value["quote"] or ""
            found += [text[at : pair.end()], quote, MASK, quote]
            at = max(value.end(), _find_closing(text, pair.end()))
    return "".join(found) + text[at:]


def _find_closing(text: str, start: int) -> int:
    """Return where an object or array ends that starts there, or the text if it does not; `start` for any other."""
    depth = 0
    for token in _BRACKET.finditer(text, start):
        if token.start() != start and not depth:
            break
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth <= 0:
            return token.end() if token[0] in "}]" else start
    return len(text) if depth else start
