"""Fields of the settings: a default, what is allowed, and a help text, each said once.

A frozen dataclass whose fields are made by `option` calls `check_options(self)` when it is made; the command line reads the
same fields. numpy scalars count as numbers and are kept as plain Python values.
"""

from __future__ import annotations

import math
import numbers
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any, final

from lapsi.errors import InputError

PANEL, HELP, RULE, FLAG = "panel", "help", "rule", "flag"


class Rule(ABC):
    """What a field accepts."""

    @abstractmethod
    def check(self, name: str, value: Any) -> Any:
        """The value as it is kept.

        Raises:
            InputError: with what was got and what was expected.
        """

    @property
    @abstractmethod
    def metavar(self) -> str:
        """How the value is shown in the help of the command line; "" where its type says enough."""


@final
@dataclass(frozen=True, slots=True)
class Choice(Rule):
    """One of some words, or another name for one (a text or a boolean), or None."""

    words: tuple[str, ...]
    aliases: Mapping[str | bool, str] = field(default_factory=dict)
    optional: bool = False

    def check(self, name: str, value: Any) -> str | None:
        if self.optional and value is None:
            return None
        word = self.aliases.get(value, value) if isinstance(value, str) or _is_bool(value) else value
        if word not in self.words:
            raise InputError(f"{name} is {value!r}; expected one of {', '.join(map(repr, self.words))}.")
        return str(word)

    @property
    def metavar(self) -> str:
        return "|".join(self.words)


@final
@dataclass(frozen=True, slots=True)
class Number(Rule):
    """A finite number of at least `least` (greater where `beyond`) and below `below`, or the word `word`, or None."""

    least: float = 0.0
    below: float = math.inf
    beyond: bool = False
    word: str | None = None
    optional: bool = False

    def check(self, name: str, value: Any) -> float | str | None:
        if (self.optional and value is None) or (self.word is not None and isinstance(value, str) and value == self.word):
            return value
        number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value < self.least or value >= self.below or (self.beyond and value == self.least):
            also = f"{self.word!r} or " if self.word is not None else "None or " if self.optional else ""
            bound = f"{'greater than' if self.beyond else 'of at least'} {self.least:g}"
            bound += "" if math.isinf(self.below) else f" and below {self.below:g}"
            raise InputError(f"{name} is {value!r}; expected {also}a finite number {bound}.")
        return int(value) if isinstance(value, numbers.Integral) else float(value)

    @property
    def metavar(self) -> str:
        return "" if self.word is None else f"{self.word}|NUMBER"


@final
@dataclass(frozen=True, slots=True)
class Integer(Rule):
    """An integer from `least` to below `below`, or the word `word`, or None."""

    least: int = 0
    below: int | None = None
    word: str | None = None
    optional: bool = False

    def check(self, name: str, value: Any) -> int | str | None:
        if (self.optional and value is None) or (self.word is not None and isinstance(value, str) and value == self.word):
            return value
        whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not whole or value < self.least or (self.below is not None and value >= self.below):
            also = f" or {self.word!r}" if self.word is not None else " or None" if self.optional else ""
            bound = f"of at least {self.least}" + ("" if self.below is None else f" and below {self.below:g}")
            raise InputError(f"{name} is {value!r}; expected an integer {bound}{also}.")
        return int(value)

    @property
    def metavar(self) -> str:
        return "" if self.word is None else f"{self.word}|INTEGER"


@final
@dataclass(frozen=True, slots=True)
class Numbers(Rule):
    """Several numbers, each as `each` says, `count` of them where given."""

    each: Number | Integer
    example: str
    count: int | None = None

    def check(self, name: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, tuple | list) or (self.count is not None and len(value) != self.count):
            raise InputError(f"{name} is {value!r}; expected {self.example}.")
        return tuple(self.each.check(name, part) for part in value)

    @property
    def metavar(self) -> str:
        return "NUMBERS"


@final
@dataclass(frozen=True, slots=True)
class Estimated(Rule):
    """One of some words that say how to find it, or a positive number, or several."""

    words: tuple[str, ...]

    def check(self, name: str, value: Any) -> str | tuple[float, ...]:
        if isinstance(value, str) and value in self.words:
            return value
        values = tuple(value) if isinstance(value, tuple | list) else (value,)
        numbers_only = all(isinstance(each, numbers.Real) and not isinstance(each, bool) for each in values)
        if not values or not numbers_only or not all(0 < each < math.inf for each in values):
            words = ", ".join(map(repr, self.words))
            raise InputError(f"{name} is {value!r}; expected {words}, a finite number greater than 0, or one for each output.")
        return tuple(map(float, values))

    @property
    def metavar(self) -> str:
        return "|".join([*self.words, "NUMBERS"])


@final
@dataclass(frozen=True, slots=True)
class Share(Rule):
    """A number from 0 to 1."""

    def check(self, name: str, value: Any) -> float:
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not number or not 0 <= value <= 1:
            raise InputError(f"{name} is {value!r}; expected a share from 0 to 1.")
        return float(value)

    @property
    def metavar(self) -> str:
        return "0…1"


@final
@dataclass(frozen=True, slots=True)
class Size(Rule):
    """A number of bytes, or None."""

    def check(self, name: str, value: Any) -> int | float | None:
        return Number(0, beyond=True, optional=True).check(name, value)  # type: ignore[return-value]

    @property
    def metavar(self) -> str:
        return "SIZE"


@final
@dataclass(frozen=True, slots=True)
class Words(Rule):
    """Several names."""

    def check(self, name: str, value: Any) -> tuple[str, ...]:
        if not isinstance(value, tuple | list) or not all(isinstance(word, str) for word in value):
            raise InputError(f"{name} is {value!r}; expected several names.")
        return tuple(value)

    @property
    def metavar(self) -> str:
        return "NAMES"


@final
@dataclass(frozen=True, slots=True)
class Listed(Rule):
    """A name, or several with commas between them, or None."""

    def check(self, name: str, value: Any) -> str | None:
        if isinstance(value, tuple | list) and value and all(isinstance(word, str) for word in value):
            return ",".join(value)
        return Name().check(name, value)

    @property
    def metavar(self) -> str:
        return "NAMES"


@final
@dataclass(frozen=True, slots=True)
class Flag(Rule):
    """True or False, or None."""

    optional: bool = False

    def check(self, name: str, value: Any) -> bool | None:
        if self.optional and value is None:
            return None
        if not _is_bool(value):
            raise InputError(f"{name} is {value!r}; expected {'None, ' if self.optional else ''}True or False.")
        return bool(value)

    @property
    def metavar(self) -> str:
        return ""


@final
@dataclass(frozen=True, slots=True)
class Name(Rule):
    """A name or path, or None; `kind` is what the help of the command line calls it, where that is not a text."""

    kind: str = ""

    def check(self, name: str, value: Any) -> str | None:
        if isinstance(value, numbers.Number | list | tuple | dict):
            raise InputError(f"{name} is {value!r}; expected a name or None.")
        return None if value is None else str(value)

    @property
    def metavar(self) -> str:
        return self.kind


def _is_bool(value: Any) -> bool:
    """Whether a value is a boolean of Python or numpy."""
    return isinstance(value, bool) or type(value).__name__ in ("bool", "bool_")


def option(default: Any, rule: Rule, help: str, *, panel: str = "", flag: str = "") -> Any:
    """A field of the settings.

    Args:
        default: its value where nothing is said.
        rule: what it accepts.
        help: one line for a reader of the command line's help.
        panel: heading it stands under there.
        flag: its name there, where that is not the name of the field. Fields of one name are one option, which all of them
            get.
    """
    return field(default=default, metadata={RULE: rule, HELP: help, PANEL: panel, FLAG: flag})


def known_fields(kind: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Of stored values those that are fields of a class of settings; others are of a later version."""
    return {each.name: given[each.name] for each in fields(kind) if each.name in given}


def flag_of(each: Field[Any]) -> str:
    """The name of a field on the command line."""
    return each.metadata[FLAG] or each.name.replace("_", "-")


def check_options(spec: Any) -> None:
    """Checks every field of a settings object that is being made, and keeps what its rule gives back."""
    for each in fields(spec):
        rule = each.metadata.get(RULE)
        if rule is not None:
            object.__setattr__(spec, each.name, rule.check(each.name, getattr(spec, each.name)))
