"""The language of `artifactfs find`: text to a condition on fields.

    condition  = conjunction {"or" conjunction}
    conjunction = term {"and" term}
    term       = "not" term | "(" condition ")" | field [operator value]
    field      = name {"." name}                 a name may be quoted: metadata."learning rate"
    operator   = "=" | "!=" | "<" | "<=" | ">" | ">=" | "~"
    value      = 'text' | "text" | number [unit] | "true" | "false" | "null" | word

A field alone asks whether it is there and is not false, null or empty. `~` matches a pattern as the shell has them,
without regard to case. A field with several values (tag, alias, input, lists) fits when one of them does, and `!=` when
none is equal. Values of different kinds are never equal, and neither is less.

Used by `find`. Threading: immutable values, pure functions.

Source: docs/cli.md, "find".
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NoReturn, Protocol, TypeAlias

from artifactfs.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">=", "~"]
DEPTH_MAX: Final = 100
_UNITS: Final = {"": 1, "b": 1, "k": 1000, "kb": 1000, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9, "t": 10**12}
_BINARY: Final = {"kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30, "tib": 1 << 40, "tb": 10**12}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<operator><=|>=|!=|==|[=<>~])
      | (?P<bracket>[()])
      | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
      | (?P<word>[^\s()<>=!~'"]+)
      | (?P<end>$)
      | (?P<wrong>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_NUMBER = re.compile(r"(?P<digits>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?P<unit>[A-Za-z]*)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?(?:Z|[+-]\d{2}:?\d{2})?")


class Condition(Protocol):
    """Something that holds or not."""

    def holds(self, find: Callable[[tuple[str, ...]], Any]) -> bool:
        """Return whether it holds where `find` returns the value of a field; None when there is none."""


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite."""

    condition: Condition

    def holds(self, find: Callable[[tuple[str, ...]], Any]) -> bool:
        """Return whether the condition does not hold."""
        return not self.condition.holds(find)


@dataclass(frozen=True, slots=True)
class AllOf:
    """All of several."""

    conditions: tuple[Condition, ...]

    def holds(self, find: Callable[[tuple[str, ...]], Any]) -> bool:
        """Return whether all hold."""
        return all(condition.holds(find) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of several."""

    conditions: tuple[Condition, ...]

    def holds(self, find: Callable[[tuple[str, ...]], Any]) -> bool:
        """Return whether one holds."""
        return any(condition.holds(find) for condition in self.conditions)


@dataclass(frozen=True, slots=True)
class Exists:
    """A field is there, and not false, null or empty."""

    field: tuple[str, ...]

    def holds(self, find: Callable[[tuple[str, ...]], Any]) -> bool:
        """Return whether it is."""
        value = find(self.field)
        return value is not None and value is not False and value not in ("", [], {}, ())


@dataclass(frozen=True, slots=True)
class Comparison:
    """A field compares with a value."""

    field: tuple[str, ...]
    operator: Operator
    value: Any

    def holds(self, find: Callable[[tuple[str, ...]], Any]) -> bool:
        """Return whether it does."""
        found = find(self.field)
        values = list(found) if isinstance(found, (list, tuple)) else [found]
        if self.operator == "!=":
            return not any(_compare(value, "=", self.value) for value in values)
        return any(_compare(value, self.operator, self.value) for value in values)


def parse_query(text: str, *, fields: tuple[str, ...]) -> Condition:
    """Return the condition that a text states.

    Args:
        text: of the query.
        fields: the names that a field may begin with.

    Raises:
        UsageError: it is not in the language; the message says where, and the hint shows it.
    """
    return _Parser(text, fields).parse()


def parse_time(text: str) -> int | None:
    """Return the time that a date or RFC 3339 moment states, in nanoseconds since 1970 UTC; None for other texts."""
    if _DATE.fullmatch(text) is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp() * 1_000_000) * 1000


class Moment(int):
    """A time in nanoseconds since 1970 UTC: as the value of a field, it compares with dates."""


def _compare(found: Any, operator: Operator, value: Any) -> bool:
    if isinstance(found, Moment):
        wanted = parse_time(value) if isinstance(value, str) else None
        found, value = int(found), wanted
    if operator == "~":
        return isinstance(found, str) and fnmatch.fnmatchcase(found.lower(), str(value).lower())
    if not _is_comparable(found, value):
        return False
    if operator == "=":
        return bool(found == value)
    if not isinstance(found, (int, float, str)) or isinstance(found, bool):
        return False
    if operator == "<":
        return bool(found < value)
    if operator == "<=":
        return bool(found <= value)
    return bool(found > value) if operator == ">" else bool(found >= value)


def _is_comparable(found: Any, value: Any) -> bool:
    if isinstance(found, bool) or isinstance(value, bool):
        return isinstance(found, bool) and isinstance(value, bool)
    numbers = isinstance(found, (int, float)) and isinstance(value, (int, float))
    return numbers or type(found) is type(value)


class _Parser:
    """Reads one query. Belongs to one call."""

    def __init__(self, text: str, fields: tuple[str, ...]) -> None:
        self._text = text
        self._fields = fields
        self._depth = 0
        self._match = self._read(0)

    def parse(self) -> Condition:
        found = self._parse_any()
        if self._kind != "end":
            self._fail(f"{self._token!r} is too much here: use `and` or `or`")
        return found

    def _parse_any(self) -> Condition:
        conditions = [self._parse_all()]
        while self._is_word("or"):
            self._advance()
            conditions.append(self._parse_all())
        return conditions[0] if len(conditions) == 1 else AnyOf(tuple(conditions))

    def _parse_all(self) -> Condition:
        conditions = [self._parse_term()]
        while self._is_word("and"):
            self._advance()
            conditions.append(self._parse_term())
        return conditions[0] if len(conditions) == 1 else AllOf(tuple(conditions))

    def _parse_term(self) -> Condition:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            self._fail("it is nested too deeply")
        try:
            if self._is_word("not"):
                self._advance()
                return Not(self._parse_term())
            if self._is_bracket("("):
                self._advance()
                found = self._parse_any()
                if not self._is_bracket(")"):
                    self._fail("a closing parenthesis is missing")
                self._advance()
                return found
            return self._parse_comparison()
        finally:
            self._depth -= 1

    def _parse_comparison(self) -> Condition:
        field = self._parse_field()
        if self._kind != "operator":
            return Exists(field)
        operator = self._token
        self._advance()
        if self._kind not in ("word", "text"):
            self._fail(f"a value is missing after {operator!r}")
        value = _unquote(self._token) if self._kind == "text" else _parse_word(self._token)
        self._advance()
        return Comparison(field, "=" if operator == "==" else operator, value)  # type: ignore[arg-type]

    def _parse_field(self) -> tuple[str, ...]:
        if self._kind != "word" or self._token in ("and", "or", "not"):
            self._fail(f"a field is missing{f' before {self._token!r}' if self._token else ''}")
        word, start = self._token, self._match.start(self._kind)
        first = word.partition(".")[0]
        if first not in self._fields:
            self._fail(f"there is no field {first!r}: known are {', '.join(self._fields)}")
        self._advance()
        parts = word.split(".")
        while word.endswith(".") and self._kind == "text":
            parts = [*parts[:-1], _unquote(self._token)]
            self._advance()
            word = ""
            if self._kind == "word" and self._token.startswith("."):
                word = self._token
                parts += word.split(".")[1:]
                self._advance()
        if not all(parts):
            self._fail("a name is missing beside the dot", at=start)
        return tuple(parts)

    @property
    def _kind(self) -> str:
        return self._match.lastgroup or "end"

    @property
    def _token(self) -> str:
        return self._match[self._kind]

    def _is_word(self, word: str) -> bool:
        return self._kind == "word" and self._token.lower() == word

    def _is_bracket(self, which: str) -> bool:
        return self._kind == "bracket" and self._token == which

    def _advance(self) -> None:
        self._match = self._read(self._match.end())

    def _read(self, at: int) -> re.Match[str]:
        match = _TOKEN.match(self._text, at)
        assert match is not None  # its last alternative matches anything
        if match.lastgroup == "wrong":
            wrong = match["wrong"]
            what = "a quotation mark is not closed" if wrong in "'\"" else f"{wrong!r} means nothing"
            self._fail(what, at=match.start("wrong"))
        return match

    def _fail(self, what: str, *, at: int | None = None) -> NoReturn:
        at = self._match.start(self._kind) if at is None else at
        msg = f"the query cannot be understood at character {at + 1}: {what}"
        raise UsageError(msg, hint=f"{self._text}\n  {' ' * at}^", subject=self._text)


def _unquote(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1], flags=re.DOTALL)


def _parse_word(word: str) -> Any:
    constants = {"true": True, "false": False, "null": None}
    if word.lower() in constants:
        return constants[word.lower()]
    match = _NUMBER.fullmatch(word)
    factor = (_UNITS | _BINARY).get(match["unit"].lower()) if match else None
    if match is None or factor is None:
        return word
    digits = match["digits"]
    number = float(digits) if re.search(r"[.eE]", digits) else int(digits)
    return number * factor
