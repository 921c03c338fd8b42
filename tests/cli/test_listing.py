"""Tables of the terminal fit into its width, and a name never takes two lines of them."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from commands import run
from lapsi.analysis.checks.told import Finding, Record
from lapsi.cli.check import print_findings
from lapsi.cli.listing import CUT, LEAST_OF_WORD, Heading, Listing, fitted, shortened, telling_words
from runs_for_reports import make_scores

N = 40
IDS = [f"reviews/2019/user-{row:05d}/part-{row * row:09d}.txt" for row in range(N)]
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "M", "Z"]), max_size=40)
NARROW = 80


def drawn(renderable, width):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(renderable)
    return out.getvalue().splitlines()


def body(lines):
    """The cells of the rows of tables, one list a line."""
    return [[part.strip() for part in line.split("│")[1:-1]] for line in lines if line.startswith("│")]


def is_cut_of(shown, whole):
    head, cut, tail = shown.partition(CUT)
    return shown == whole or (cut and len(head + tail) > 8 and whole.startswith(head) and whole.endswith(tail))


@given(TEXTS, st.integers(0, 50))
def test_a_text_is_cut_in_its_middle(text, width):
    cut = shortened(text, width)
    assert cell_len(cut) <= max(width, 1)
    if cell_len(text) <= width:
        assert cut == text
    else:
        head, tail = cut.split(CUT) if CUT not in text else (cut[: cut.index(CUT)], "")
        assert text.startswith(head)
        assert text.endswith(tail)
        assert cell_len(cut) >= width - 2  # of letters that take two cells one may not fit, at either end


def test_words_are_cut_the_longest_first():
    line = f"{IDS[3]} (yes) = {IDS[4]} (no)"
    cut = fitted(line, 60)
    assert cell_len(cut) <= 60
    first, yes, equals, second, no = cut.split(" ")
    assert (yes, equals, no) == ("(yes)", "=", "(no)")
    assert is_cut_of(first, IDS[3])
    assert is_cut_of(second, IDS[4])
    assert fitted(line, 200) == line
    assert cell_len(fitted("word " * 40, 30)) <= 30
    assert min(map(len, fitted(line, 34).split(" ")[::3])) >= LEAST_OF_WORD


HEADINGS = [
    Heading("id", "id"),
    Heading("label", "label"),
    Heading("lsi", "LSI", True),
    Heading("loo_probability", "LOO probability", True),
    Heading("rank", "rank", True),
]
ROWS = [[IDS[row], f"kind {row % 3}", f"{row / 7:.2e}", f"{row / N:.3f}", f"{row:,}"] for row in range(5)]


@pytest.mark.parametrize("differing", [(0, 4), (16, 20), (36, 40)])
def test_names_stay_different_where_they_differ_in_one_place_alone(differing):
    first, last = differing
    names = [f"{'x' * first}{row:04d}{'y' * (40 - last)}" for row in range(30)]
    lines = drawn(Listing("", HEADINGS[:1], [[name] for name in names]), 30)
    assert len({row[0] for row in body(lines)}) == 30
    assert max(map(cell_len, lines)) <= 30


def test_a_listing_breaks_headings_then_cuts_names_then_leaves_columns_out():
    listing = Listing("Title", HEADINGS, ROWS, "what it means")
    wide = drawn(listing, 120)
    assert [row[0] for row in body(wide)] == IDS[:5]
    assert "LOO probability" in wide[2]
    assert wide[-1].strip() == "what it means"

    broken = drawn(listing, 88)  # as wide as the whole names with a broken heading
    assert [row[0] for row in body(broken)] == IDS[:5]
    assert not any("LOO probability" in line for line in broken)

    cut = drawn(listing, 60)
    assert all(is_cut_of(row[0], IDS[place]) and row[0] != IDS[place] for place, row in enumerate(body(cut)))
    assert "names are cut; --json has them whole" in " ".join(line.strip() for line in cut[-2:])
    assert [row[1:] for row in body(cut)] == [row[1:] for row in ROWS]

    narrow = drawn(listing, 46)
    assert len(body(narrow)) == 5
    assert [row[1:] for row in body(narrow)] == [[row[1], row[2], row[4]] for row in ROWS]
    assert "LOO probability" in " ".join(line.strip() for line in narrow[-3:])
    for lines, width in ((wide, 120), (broken, 88), (cut, 60), (narrow, 46)):
        assert max(map(cell_len, lines)) <= width


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    groups = [f"contributor-of-the-northern-archive-number-{row % 4:04d}" for row in range(N)]
    for seed in (0, 1):
        scores = make_scores(N, seed=0, classes=["ant", "bee", "weasel, grey"], ids=IDS, columns={"group": groups})
        if seed:
            scores = scores.from_pandas(scores.to_pandas().assign(lsi=scores.lsi * np.linspace(1, 2, N)))
        scores.save(folder / f"run{seed}")
    return folder / "run0", folder / "run1", sorted(set(groups))


@pytest.mark.parametrize("command", ["show", "issues", "compare"])
def test_every_id_takes_one_line_of_eighty(runs, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(NARROW))
    shown = run(command, *(runs[:2] if command == "compare" else runs[:1]))
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()
    assert max(cell_len(line) for line in lines if line[:1] in "│┃┏┡└├") <= NARROW
    samples = [row for row in body(lines) if row[0].endswith(".txt") or CUT in row[0]]
    assert len(samples) >= 10
    for row in samples:
        assert any(is_cut_of(row[0], each) for each in IDS)
        assert row.count("") <= 1  # nothing stands in a line of its own; a suggestion may be missing


def test_every_group_takes_one_line_of_eighty(runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(NARROW))
    lines = run("groups", runs[0], "--by", "group").stdout.splitlines()
    rows = body(lines)
    assert len(rows) == 4
    assert all(any(is_cut_of(row[0], name) for name in runs[2]) for row in rows)
    assert len({row[0] for row in rows}) == 4


def test_findings_tell_each_example_in_one_line():
    examples = [f"{IDS[row]} (yes) = {IDS[row + 1]} (no)" for row in range(3)]
    said = "6 samples in 3 sets"
    record = Record([Finding("duplicates", "Are samples there twice, or nearly?", 6, said, examples, ["check_duplicate"])], {})
    out = io.StringIO()
    print_findings(record, N, Console(file=out, width=NARROW, color_system=None))
    lines = out.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= NARROW
    found = [row[1] for row in body(lines)]
    assert found[0] == said
    assert [re.sub(r"\S+/\S+|\S*…\S*", "ID", line) for line in found[1:4]] == ["ID (yes) = ID (no)"] * 3
    assert "check_duplicate" in out.getvalue()


@pytest.mark.parametrize("width", [34, 46, 58])
def test_findings_keep_what_tells_names_apart(width):
    names = [f"photos/train/animals/cat_of_the_house_{row:04d}.jpg" for row in range(6)]
    examples = [f"{names[2 * row]} (cat) = {names[2 * row + 1]} (cat)" for row in range(3)]
    cut = telling_words(examples)
    shown = [cut(example, width) for example in examples]
    assert max(map(cell_len, shown)) <= width
    assert len({word for line in shown for word in line.split(" ") if ".jpg" in word}) == 6
    short = [f"cat_{row:03d}.jpg" for row in range(3)]
    line = " = ".join(f"{name} (cat)" for name in short)
    assert "cat….jpg (cat) = cat….jpg" in fitted(line, 48)
    assert telling_words([line])(line, 48) == "…000.jpg (cat) = …001.jpg (cat) = …002.jpg (cat)"


def test_the_groups_are_called_as_the_source_calls_them(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    table = pd.DataFrame(rng.normal(size=(60, 2)), columns=["f_a", "f_b"])
    table.assign(label=labels, household=labels + rng.integers(0, 3, 60)).to_csv(tmp_path / "a.csv", index=False)
    scored = run("score", tmp_path / "a.csv", "--group", "household", "-o", tmp_path / "run", "--verify", 0, "--quiet")
    assert scored.returncode == 0, scored.stderr
    shown = run("groups", tmp_path / "run").stdout
    assert "LSI by household" in shown
    assert body(shown.splitlines())
    assert not re.search(r"\bgroup\b", shown.partition("sum, mean")[0])
