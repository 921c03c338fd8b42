"""The commands of `lapsi`: each is imported when it is called."""

from __future__ import annotations

import errno
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lapsi.cli.terminal import Stream, require_told, say, warn
from lapsi.errors import InputError, LapsiError, first_line

# each is a function of its name, with _ for -, in a module of its name in `lapsi.cli.commands`
COMMANDS = (
    "demo",
    "score",
    "score-network",
    "score-pairs",
    "embed",
    "issues",
    "groups",
    "measure",
    "check",
    "privacy",
    "report",
    "apply",
    "show",
    "export",
    "publish",
    "select",
    "plot",
    "compare",
)


class Commands(TyperGroup):
    """The commands by name; the module of one is imported when it is asked for."""

    def __init__(self, **attributes: Any) -> None:
        """As the base class."""
        super().__init__(**attributes)
        self.commands: dict[str, Any] = dict.fromkeys(COMMANDS)  # the base class proposes those of a like name

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of their use."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        name = cmd_name.replace("-", "_")
        module = import_module(f"lapsi.cli.commands.{name}")
        return typer.main.get_command(_single(getattr(module, name)))


def _single(command: Any) -> typer.Typer:
    single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="rich")
    single.command()(command)
    return single


app = typer.Typer(
    cls=Commands,
    help="How much every training sample really teaches a model (Laplace Sample Information, nats).\n\n"
    "Exit codes: 0 done, 1 unexpected error, 2 wrong input or option, 3 output exists, 4 fit did not converge, "
    "5 too little memory, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

UsageError: Any = typer.BadParameter.__mro__[1]  # of click, or of the copy of it that newer versions of typer carry


@app.callback(invoke_without_command=True)
def options(show_version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    """Options of lapsi itself."""
    if show_version:
        print(version("lapsi"))
        raise typer.Exit


def main() -> None:
    """Runs the command line; errors that lapsi raises on purpose become one line and an exit code."""
    output = Stream(sys.stdout)
    with redirect_stdout(output), redirect_stderr(Stream(sys.stderr)), warnings.catch_warnings():
        warnings.showwarning = warn
        code = _run(output)
    sys.exit(code)


def _run(output: Stream) -> int:
    try:
        code = app(standalone_mode=False)
        require_told(output)
        return code if isinstance(code, int) else 0
    except LapsiError as error:
        return _fail(str(error), error.exit_code)
    except UsageError as error:
        return _fail(_usage(error), error.exit_code)
    except OSError as error:
        return _fail(first_line(error), InputError.exit_code if error.errno == errno.ENAMETOOLONG else 1)
    except typer.Abort as error:
        return _fail(first_line(error), 1)


def _usage(error: Any) -> str:
    """What is wrong with a command as it was typed; nothing where the help was shown instead."""
    message = error.format_message().strip().rstrip(".")
    return message and f"{message}; see '{error.ctx.command_path if error.ctx else 'lapsi'} --help'."


def _fail(message: str, code: int) -> int:
    if message:
        say(f"lapsi: {message}", "red", error=True)
    return code
