"""A page of all results: every claim with its verdict, our figure beside that of the paper, and how it was made."""

from __future__ import annotations

import io
import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from experiments.catalogue import EXPERIMENTS
from experiments.verdicts import PAPER, WORDS
from experiments.ways import AS_CODE, AS_PAPER
from lapsi.errors import InputError
from lapsi.execution.files import write_file

PICTURES = Path("images", "paper")
COLOURS = 64
HEAD = """# The paper, claim by claim

*Laplace Sample Information: Data Informativeness Through a Bayesian Lens*, ICLR 2025. `make paper` runs an experiment for every
figure and table and writes this page. A verdict follows from the numbers by the rule that stands beside it; where one part of a
rule came out and another did not, the claim holds partly.

- **as-paper**: {paper}.
- **as-code**: {code}.

{scales} Where other data stand in for the paper's, they test the claim, not its numbers. `--scale full` takes the official data
sets ([how they are read](data.md#the-data-sets-of-the-paper)), the extractors of the paper, and days on a CPU.

"""
GALLERIES = """## Galleries

Figures 2 to 4 and 12 and Appendices K to M show samples of lowest and highest LSI. A run and its report show them.

```text
lapsi score imagenette --data-dir FOLDER --weight-decay 0.01 -o imagenette-run   # or imagewoof, cifar10, pneumonia, imdb
lapsi report imagenette-run                                                      # galleries of both ends, by class
lapsi measure imagenette-run --add trak                                          # Figure 12: sort the report by TRAK
```
"""


def write_page(results: Path, page: Path) -> None:
    """Writes a page of the experiments that a folder of results holds, and small copies of their pictures beside it.

    Raises:
        InputError: when it holds none.
    """
    records = [record for name in EXPERIMENTS if (record := _read(results / f"{name}.json")) is not None]
    if not records:
        raise InputError(f"{results} holds no results; run python -m experiments --to {results} first.")
    ordered = sorted(records, key=_place)
    folder = page.parent / PICTURES
    for record in ordered:
        picture = _small((results / f"{record['name']}.png").read_bytes())
        write_file(folder / f"{record['name']}.png", partial(_write, picture), force=True)
    text = page_of(ordered)
    write_file(page, lambda path: path.write_text(text, encoding="utf-8"), force=True)


def page_of(records: list[dict[str, Any]]) -> str:
    """The page in Markdown."""
    scales = sorted({record["scale"] for record in records})
    told = f"Here: scale {', '.join(scales)}, {sum(record['seconds'] for record in records) / 60:.0f} min in all."
    head = HEAD.format(paper=AS_PAPER.says, code=AS_CODE.says, scales=told)
    return head + _overview(records) + "\n".join(map(_section, records)) + "\n" + GALLERIES


def _overview(records: list[dict[str, Any]]) -> str:
    verdicts = [(record, verdict) for record in records for verdict in record["verdicts"]]
    counted = Counter(verdict["word"] for _, verdict in verdicts if verdict["recipe"] == PAPER)
    counts = ", ".join(f"{counted[word]} {word}" for word in WORDS if counted[word])
    rows = [
        _row(f"[{record['paper']}](#{_anchor(record)})", verdict["claim"], verdict["recipe"], f"**{verdict['word']}**")
        for record, verdict in verdicts
    ]
    return "\n".join([f"As-paper: {counts}.\n", _row("", "claim", "recipe", "verdict"), "|---|---|---|---|", *rows, "\n"])


def _section(record: dict[str, Any]) -> str:
    columns = ("claim", "recipe", "paper", "ours", "word", "why")
    told = [verdict | {"word": f"**{verdict['word']}**", "ours": verdict["ours"] or "–"} for verdict in record["verdicts"]]
    rows = [_row(*(verdict[column] for column in columns)) for verdict in told]
    return "\n".join(
        [
            f"## {record['paper']}: {record['title']} {{: #{_anchor(record)} }}\n",
            f"![{record['title']}]({PICTURES.as_posix()}/{record['name']}.png)\n",
            _row("claim", "recipe", "paper", "ours", "verdict", "why"),
            "|---|---|---|---|---|---|",
            *rows,
            f"\nData: {record['numbers']['data']}. `{record['command']}`, {record['seconds']:.0f} s ({record['machine']}).\n",
        ]
    )


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _anchor(record: dict[str, Any]) -> str:
    return record["name"].replace("_", "-")


def _place(record: dict[str, Any]) -> tuple[int, int]:
    """Figures by their number, then tables, then what is in neither."""
    kind = next((place for place, word in enumerate(("Figure", "Table")) if record["paper"].startswith(word)), 2)
    digits = "".join(sign if sign.isdigit() else " " for sign in record["paper"]).split()
    return kind, int(digits[0]) if digits else 0


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _small(picture: bytes) -> bytes:
    """The same with fewer colours, which plots have no need of."""
    out = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(COLOURS).save(out, "PNG", optimize=True)
    return out.getvalue()
