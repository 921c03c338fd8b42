"""What reaches the terminal: text that it shows and never obeys, on streams that may be closed, full or narrow."""

from __future__ import annotations

import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EBADF
from pathlib import Path
from typing import TextIO, final

from rich.console import Console
from rich.text import Text

INTERRUPTED = 130  # exit code
OBEYED = {"Cc", "Cs", "Zl", "Zp"}  # Unicode categories: controls, lone surrogates, separators of lines
TURNING = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # the direction of writing


@final
class Stream(io.TextIOBase):
    """Standard output or standard error, whose failing never stops a command.

    What its encoding lacks is written as an escape. After a write that failed everything is dropped.
    """

    def __init__(self, stream: TextIO | None) -> None:
        """`stream`: None where the process was started with it closed."""
        self._stream = stream
        self._failure: OSError | None = None

    @property
    def lost(self) -> OSError | None:
        """Why text was lost; None where none was, or its reader wanted no more."""
        return None if isinstance(self._failure, ConnectionError) else self._failure

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Of the stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def writable(self) -> bool:
        """Always."""
        return True

    def isatty(self) -> bool:
        """Whether a terminal shows it."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Of the stream."""
        return super().fileno() if self._stream is None else self._stream.fileno()

    def write(self, text: str) -> int:
        """Writes what can be written."""
        if not isinstance(text, str):  # by which typer tells streams of text from others
            raise TypeError(f"a stream of text was given {type(text).__name__}")
        if self._failure is None and text:
            try:
                self._open().write(text.encode(self.encoding, "backslashreplace").decode(self.encoding))
            except OSError as error:
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        """Writes what was held back."""
        if self._failure is None and self._stream is not None:
            try:
                self._stream.flush()
            except OSError as error:
                self._fail(error)

    def forgive(self) -> None:
        """Takes what was lost for told; more is dropped without a word."""
        if self._failure is not None:
            self._failure = BrokenPipeError()

    def _open(self) -> TextIO:
        if self._stream is None:
            raise OSError(EBADF, "it is closed")
        return self._stream

    def _fail(self, error: OSError) -> None:
        """From here on the system's own stream leads nowhere, so that what it holds back does not fail again at exit."""
        self._failure = error
        with suppress(OSError):
            broken = self._open().fileno()
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, broken)
            os.close(nowhere)


def plain(value: object) -> str:
    """Text without what a terminal would obey: escape sequences, line ends and turned writing become visible escapes."""
    return "".join(_shown(sign) for sign in str(value))


def _shown(sign: str) -> str:
    obeyed = sign in TURNING or unicodedata.category(sign) in OBEYED
    return sign.encode("unicode_escape").decode("ascii") if obeyed else sign


def cell(value: object, style: str = "") -> Text:
    """A value as it is, for a table or a line: no markup, nothing that the terminal obeys."""
    return Text(plain(value), style)


def say(message: str, style: str | None = None, *, error: bool = False) -> None:
    """One line of plain text on standard output, or on standard error."""
    Console(stderr=error, soft_wrap=True).print(plain(message), style=style, markup=False, highlight=False)


def warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One line for a warning of a library, in place of `warnings.showwarning`."""
    say(f"{category.__name__}: {message}", "yellow", error=True)


@contextmanager
def told(written: Path | None) -> Iterator[None]:
    """What a command says after it wrote a file or a run: words that are lost then do not undo it, and are no failure.

    `written`: None where nothing was, and what is shown is all that there is.
    """
    yield
    sys.stdout.flush()
    if written is not None and isinstance(sys.stdout, Stream) and sys.stdout.lost is not None:
        say(f"lapsi: {written} is written, but {_complaint(sys.stdout.lost)}", "yellow", error=True)
        sys.stdout.forgive()


def require_told(output: Stream) -> None:
    """Refuses to end well when what a command was to show is lost.

    Raises:
        OSError: saying why.
    """
    output.flush()
    if output.lost is not None:
        raise OSError(f"nothing was shown: {_complaint(output.lost)}")


def _complaint(error: OSError) -> str:
    return f"standard output cannot be written to ({error.strerror or error})."
