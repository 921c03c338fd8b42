"""Tables that fit the terminal: a name stays in one line and is cut in its middle, headings break, columns go at last."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from textwrap import wrap
from typing import final

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lapsi.cli.terminal import cell, plain
from lapsi.results.columns import Column

LEAST = 12  # cells that a name keeps
LEAST_OF_WORD = 8
CUT = "…"
Cut = Callable[[str, int], str]  # a text to so many cells
BORDER = 3  # cells of a column beside its text
LEAST_NEEDED = ("loo_probability", "suggested_probability", "memorised", "loo_deviation", "curvature_share", "top_decile")


def shortened(text: str, width: int) -> str:
    """A text of at most `width` cells; what goes is its middle, since ends tell names apart."""
    if cell_len(text) <= width:
        return text
    room = max(0, width - cell_len(CUT))
    tail = _beginning(text[::-1], (room + 1) // 2)[::-1]
    return _beginning(text, room - cell_len(tail)) + CUT + tail


def without_beginning(text: str, width: int) -> str:
    """The same, less its beginning."""
    return text if cell_len(text) <= width else CUT + _beginning(text[::-1], max(0, width - 1))[::-1]


def without_end(text: str, width: int) -> str:
    """The same, less its end."""
    return text if cell_len(text) <= width else _beginning(text, max(0, width - 1)) + CUT


CUTS = (shortened, without_beginning, without_end)


def telling(names: Iterable[str]) -> Cut:
    """The first way to cut names that keeps different ones different; in the middle where none does."""
    different = set(names)
    best = _first_cut(lambda cut, width: len({cut(name, width) for name in different}) == len(different))
    return lambda text, width: best(width)(text, width)


def telling_words(texts: Iterable[str]) -> Cut:
    """The same of the words of texts, as `fitted` cuts them: different words stay different, also in different texts."""
    different = set(texts)
    best = _first_cut(lambda cut, width: _tells(cut, different, width))
    return lambda text, width: fitted(text, width, best(width))


def _first_cut(tells: Callable[[Cut, int], bool]) -> Callable[[int], Cut]:
    """The first way that tells apart at a width; in the middle where none does."""

    @cache
    def best(width: int) -> Cut:
        return next((cut for cut in CUTS if tells(cut, width)), shortened)

    return best


def _tells(cut: Cut, texts: Iterable[str], width: int) -> bool:
    """Whether no two different words look the same."""
    whole: dict[str, str] = {}
    for text in texts:
        for word, shown in zip(text.split(" "), fitted(text, width, cut).split(" "), strict=False):
            if whole.setdefault(shown, word) != word:
                return False
    return True


def fitted(text: str, width: int, cut: Cut = shortened) -> str:
    """Words of at most `width` cells together: the longest of them are cut, and all where that is not enough."""
    words = text.split(" ")
    kept = [cell_len(word) for word in words]
    while sum(kept) + len(words) - 1 > width:
        longest = kept.index(max(kept))
        if kept[longest] <= LEAST_OF_WORD:
            return cut(text, width)
        kept[longest] -= 1
    return " ".join(map(cut, words, kept))


def _beginning(text: str, width: int) -> str:
    """As many letters as fit."""
    taken = 0
    for place, letter in enumerate(text):
        taken += cell_len(letter)
        if taken > width:
            return text[:place]
    return text


@final
@dataclass(frozen=True, slots=True)
class Name:
    """A text that takes one line of a table, however narrow.

    Attributes:
        text: harmless to a terminal.
        cut: to so many cells.
    """

    text: str
    cut: Cut = shortened

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.cut(self.text, options.max_width), no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        length = cell_len(self.text)
        return Measurement(min(LEAST, length), length).with_maximum(options.max_width)


@final
@dataclass(frozen=True, slots=True)
class Heading:
    """Of a column of a listing.

    Attributes:
        name: by which it is known.
        text: what stands above it.
        is_number: numbers stand to the right and are never cut.
    """

    name: str
    text: str
    is_number: bool = False

    @staticmethod
    def of(column: Column) -> Heading:
        """That of a column of a run."""
        return Heading(column.name, column.heading, column.is_number)


@final
@dataclass(frozen=True, slots=True)
class Listing:
    """A table of texts that fits into whatever width there is.

    Where names whole and headings in one line do not fit, headings break between words, then names are cut, then the columns
    that are needed least are left out, which is told below.

    Attributes:
        title: above it.
        headings: of its columns; the first names the rows.
        rows: a text a column.
        caption: below it.
        total: whether the last row sums the others up.
    """

    title: str
    headings: Sequence[Heading]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    total: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown = list(range(len(self.headings)))
        broken = self._width(shown, broken=False, whole=True) > options.max_width
        is_cut = self._width(shown, broken, whole=True) > options.max_width
        while self._width(shown, broken, whole=False) > options.max_width and len(shown) > 2:
            shown.remove(self._least_needed(shown))
        left_out = [heading.text for place, heading in enumerate(self.headings) if place not in shown]
        told = ["names are cut; --json has them whole"] if is_cut else []
        told += [f"left out for want of room: {', '.join(left_out)}"] if left_out else []
        table = Table(title=cell(self.title), title_justify="left", caption_justify="left")
        table.caption = cell("; ".join([*([self.caption] if self.caption else []), *told])) if self.caption or told else None
        for place in shown:
            heading = self.headings[place]
            table.add_column(
                Text("\n").join(map(cell, self._lines(place, broken))),
                justify="right" if heading.is_number else "left",
                no_wrap=heading.is_number,
                vertical="bottom" if heading.is_number else "top",
            )
        columns = [self._cells(place) for place in shown]
        for number, cells in enumerate(zip(*columns, strict=True)):
            table.add_row(*cells, style="bold" if self.total and number == len(self.rows) - 1 else None)
        yield table

    def _cells(self, place: int) -> list[Text | Name]:
        texts = [plain(row[place]) for row in self.rows]
        if self.headings[place].is_number:
            return [cell(text) for text in texts]
        cut = telling(texts)
        return [Name(text, cut) for text in texts]

    def _width(self, shown: Iterable[int], broken: bool, whole: bool) -> int:
        """Cells that some columns need, headings broken or not, names whole or cut as far as they may be."""
        return 1 + sum(BORDER + self._column_width(place, broken, whole) for place in shown)

    def _column_width(self, place: int, broken: bool, whole: bool) -> int:
        longest = self._longest(place)
        kept = longest if whole or self.headings[place].is_number else min(LEAST, longest)
        return max(kept, *(cell_len(plain(line)) for line in self._lines(place, broken)))

    def _longest(self, place: int) -> int:
        return max((cell_len(plain(row[place])) for row in self.rows), default=0)

    def _lines(self, place: int, broken: bool) -> list[str]:
        """What stands above a column of numbers, broken where its numbers leave less room."""
        text = self.headings[place].text
        if not broken or not self.headings[place].is_number:
            return [text]
        return wrap(text, max(self._longest(place), *map(len, text.split(" "))), break_long_words=False) or [text]

    def _least_needed(self, shown: Sequence[int]) -> int:
        """A column that is known to be, else the last."""
        names = [self.headings[place].name for place in shown]
        known = next((name for name in LEAST_NEEDED if name in names[1:]), None)
        return shown[-1] if known is None else shown[names.index(known)]
