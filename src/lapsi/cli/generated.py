"""Fields of the settings to options of a command, and what was typed back to values of the fields.

A field is an option by its own metadata (`lapsi.settings.option`): there is no other place where its name, default, help and
check stand. Only what was typed is handed on, so that presets and unfinished runs keep what nothing is said about.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, fields
from functools import wraps
from typing import Annotated, Any

import typer

from lapsi.errors import InputError
from lapsi.settings.option import (
    HELP,
    PANEL,
    RULE,
    Choice,
    Estimated,
    Flag,
    Integer,
    Listed,
    Number,
    Numbers,
    Rule,
    Share,
    Size,
    Words,
    flag_of,
)

AUTO = "auto"  # what None is called where a field has a choice of words
UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
OPTIONS = "options"  # the parameter of a command that takes what was typed
Options = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A class of settings whose fields a command takes.

    Attributes:
        kind: the class.
        without: fields that it does not take.
        own_names: whether the options are called as the fields even where these have another name among all settings.
    """

    kind: type
    without: tuple[str, ...] = ()
    own_names: bool = False

    def flags(self) -> dict[str, Field[Any]]:
        """The fields by the names of their options."""
        taken = [each for each in fields(self.kind) if RULE in each.metadata and each.name not in self.without]
        return {each.name.replace("_", "-") if self.own_names else flag_of(each): each for each in taken}

    def values(self, options: Options) -> dict[str, Any]:
        """Fields by their names, those that were typed.

        Raises:
            InputError: for text that is no value of its field.
        """
        asked = {flag: options.get(_name(flag)) for flag in self.flags()}
        return {
            each.name: read(each.metadata[RULE], asked[flag], f"--{flag}")
            for flag, each in self.flags().items()
            if asked[flag] is not None
        }

    def make(self, options: Options) -> Any:
        """The object that is asked for.

        Raises:
            InputError: as its class says.
        """
        return self.kind(**self.values(options))


def with_options(*parts: Part) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of some settings, in place of its parameter `options`, which gets what was typed.

    Options are named in it as in Python; what two parts have under one name is one option.
    """
    made: dict[str, inspect.Parameter] = {}
    for part in parts:
        for flag, each in part.flags().items():
            made.setdefault(_name(flag), _parameter(flag, each))

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters
        context = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
        parameters = [context]
        for name, parameter in own.items():
            parameters += made.values() if name == OPTIONS else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]

        @wraps(command)
        def called(context: typer.Context, **values: Any) -> None:
            options = {name: _joined(values.pop(name)) for name in made}
            command(options={name: value for name, value in options.items() if _is_typed(context, name)}, **values)

        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        called.__annotations__ = {each.name: each.annotation for each in parameters}
        return called

    return decorate


def read(rule: Rule, value: Any, flag: str) -> Any:
    """The value of a field from what was typed.

    Raises:
        InputError: for text that is none.
    """
    match rule:
        case Choice(optional=True):
            return None if value == AUTO else value
        case Number(word=str(word)) | Integer(word=str(word)):
            return value if value == word else _number(value, rule, f"{flag} is {value!r}; expected '{word}' or a number.")
        case Numbers() | Estimated():
            return _several(rule, value, flag)
        case Words():
            return _words(value)
        case Size():
            return _bytes(value, flag)
        case _:
            return value


def _parameter(flag: str, each: Field[Any]) -> inspect.Parameter:
    rule, default = each.metadata[RULE], each.default
    assert default is not MISSING
    negative = isinstance(rule, Flag) and default is not False
    option = typer.Option(
        f"--{flag}/--no-{flag}" if negative else f"--{flag}",
        help=each.metadata[HELP],
        metavar=_metavar(rule),
        rich_help_panel=each.metadata[PANEL] or None,
    )
    kind: Any = _kind(rule)
    return inspect.Parameter(
        _name(flag),
        inspect.Parameter.KEYWORD_ONLY,
        default=_typed(default, rule),
        annotation=Annotated[kind | None, option],
    )


def _kind(rule: Rule) -> Any:
    """What is typed for a field."""
    match rule:
        case Flag():
            return bool
        case Share() | Number(word=None):
            return float
        case Words() | Listed():
            return list[str]  # so that the option may be given several times
        case Integer(word=None):
            return int
        case _:
            return str


def _metavar(rule: Rule) -> str | None:
    optional = isinstance(rule, Choice) and rule.optional
    return f"{AUTO}|{rule.metavar}" if optional else rule.metavar or None


def _typed(default: Any, rule: Rule) -> Any:
    """A default as it would be typed."""
    if default is None and isinstance(rule, Choice) and rule.optional:
        return AUTO
    if isinstance(default, tuple):
        text = ",".join(map(str, default)) or None
        return [text] if text is not None and isinstance(rule, Words) else text
    return default


def _is_typed(context: typer.Context, name: str) -> bool:
    """Whether the command line names an option."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _name(flag: str) -> str:
    return flag.replace("-", "_")


def _joined(value: Any) -> Any:
    """What an option got that was given several times, with commas between."""
    return (",".join(value) if value else None) if isinstance(value, list) else value


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _number(text: str, rule: Number | Integer, message: str) -> int | float:
    try:
        return int(text) if isinstance(rule, Integer) else float(text)
    except ValueError:
        raise InputError(message) from None


def _several(rule: Numbers | Estimated, text: str, flag: str) -> Any:
    """Numbers with commas between them, or a word that stands for some."""
    words = rule.words if isinstance(rule, Estimated) else ()
    if text in words:
        return text
    each = rule.each if isinstance(rule, Numbers) else Number()
    expected = ", ".join([*words, "numbers with commas between them, e.g. 64,32"])
    return tuple(_number(part, each, f"{flag} is {text!r}; expected {expected}.") for part in text.split(",")) if text else ()


def _bytes(text: str, flag: str) -> int:
    digits = text.upper().removesuffix("B").removesuffix("I")
    unit = digits[-1:] if digits[-1:] in UNITS else ""
    try:
        return int(float(digits.removesuffix(unit)) * UNITS[unit])
    except (ValueError, OverflowError):
        raise InputError(f"{flag} is {text!r}; expected a size such as 8G, 500M or a number of bytes.") from None
