"""Tables of text in other layouts, with tabs, semicolons, decimal commas, compressed: read alike, and written as they came."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import lapsi
from commands import fail, succeed
from lapsi.analysis.review import read_review
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.containers import open_arrays
from lapsi.data.readers.layouts import Layout, separator_in
from lapsi.data.readers.source import open_source

N = 40
WRITTEN = {
    "flowers.csv": {},
    "flowers.tsv": {"sep": "\t"},
    "flowers.csv.gz": {},
    "flowers.tsv.gz": {"sep": "\t"},
    "semicolons.csv": {"sep": ";"},
    "european.csv": {"sep": ";", "decimal": ","},
    "european.tsv": {"sep": "\t", "decimal": ","},
    "bars.csv.gz": {"sep": "|"},
    "commas.tsv": {},
}


@pytest.fixture
def flowers(tmp_path, monkeypatch):
    """The same table in every layout."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    kind = np.arange(N) % 2
    frame = pd.DataFrame(
        {
            "name": [f'a "{row}", or; {row % 7}\tmore' for row in range(N)],
            "length": (rng.normal(size=N) + kind).round(3),
            "count": rng.integers(0, 2000, N),
            "kind": np.array(["rose", "tulip"])[kind],
        }
    )
    for file, how in WRITTEN.items():
        frame.to_csv(file, index=False, **how)
    return frame


@pytest.mark.parametrize("file", WRITTEN)
def test_cells_are_those_of_the_table(flowers, file):
    arrays = open_arrays(Path(file))
    for name in flowers:
        assert arrays.load(name).tolist() == flowers[name].tolist()
    assert arrays.said.startswith("" if file.startswith("flowers") else f"{file}: columns parted by")
    assert bool(arrays.said) != file.startswith("flowers")
    assert ("','" in arrays.said) == (file == "commas.tsv" or file.startswith("european"))


def test_every_layout_gives_the_same_scores(flowers):
    expected = None
    for place, file in enumerate(("flowers.csv", "flowers.tsv.gz", "european.csv")):
        options = ("--labels", "kind", "--ids", "name", "--verify", 0, "-o", f"run{place}")
        for dry in (["--dry-run"], []):
            told = " ".join(succeed("score", file, *options, *dry).stderr.split())
            assert ("european.csv: columns parted by ';', fractions written with ','." in told) == (file == "european.csv")
        scores = lapsi.load_run(f"run{place}")
        expected = scores if expected is None else expected
        np.testing.assert_array_equal(scores.lsi, expected.lsi)
        assert scores.provenance.data_hash == expected.provenance.data_hash


@pytest.mark.parametrize(
    ("head", "separator"),
    [
        (b"a,b\n1,2", ","),
        (b"a;b\n1;2", ";"),
        (b"a;b\n1,5;2,5", ";"),
        (b"a\tb\n1\t2", "\t"),
        (b"a|b\n1|2", "|"),
        (b"a;b\n1", ","),
        (b"a;b,c\n1;2", ","),
        (b'"x;y"\n1;2', ","),
        (b'"x,y";z\n1;2', ";"),
        (b"a;b", ";"),
        (b"", ","),
        (b"text\nsome; words", ","),
    ],
)
def test_the_header_and_the_line_below_tell_what_parts_columns(head, separator):
    assert separator_in(head) == separator


def test_a_cell_never_meets_a_separator_that_is_its_decimal_mark():
    assert Layout(";", ",").written_as(".csv.gz") == Layout(";", ",")
    assert Layout("\t", ",").written_as(".csv") == Layout(";", ",")
    assert Layout(";", ",").written_as(".tsv") == Layout("\t", ",")
    assert Layout("|").written_as(".csv") == Layout("|")
    assert Layout().written_as(".tsv.gz") == Layout("\t")


@pytest.mark.parametrize("file", WRITTEN)
def test_scores_are_written_beside_a_table_as_it_lies(flowers, file):
    lapsi.score(flowers[["length"]].to_numpy(), flowers["kind"], verify=0, progress=False).save("run")
    usual = "tsv" if "tsv" in file else "csv"
    for output in (f"both.{usual}", f"both.{usual}.gz"):
        succeed("export", "run", "--into", file, "--to", output)
        how = WRITTEN[file] if file != "commas.tsv" else {"sep": "\t"}
        both = pd.read_csv(output, **how)
        pd.testing.assert_frame_equal(both[list(flowers)], flowers)
        np.testing.assert_allclose(both["lapsi_lsi"], lapsi.load_run("run").lsi)
    succeed("export", "run", "--into", file, "--to", "both.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet("both.parquet")[list(flowers)], flowers)


def decide(scores, *decisions, **how):
    table = scores.table
    key = scores.provenance.data_hash
    rows = [[table["id"][row], row, table["label"][row], action, new, "", key] for row, action, new in decisions]
    frame = pd.DataFrame(rows, columns=["id", "row", "label", "action", "new_label", "note", "run"])
    frame.to_csv("review.csv", index=False, **how)


@pytest.mark.parametrize("file", ["flowers.tsv", "flowers.csv.gz", "european.csv"])
def test_a_reviewed_table_comes_back_in_its_layout(flowers, file):
    succeed("score", file, "--labels", "kind", "--ids", "name", "--verify", 0, "-o", "run", "-q")
    decide(lapsi.load_run("run"), (3, "relabel", "rose"), (5, "remove", ""))
    succeed("apply", "run", "--review", "review.csv", "-o", f"cleaned-{file}", "-q")
    flowers.loc[3, "kind"] = "rose"
    kept = flowers.drop(index=5).reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_csv(f"cleaned-{file}", **WRITTEN[file]), kept)
    before, after = (_lines(name) for name in (file, f"cleaned-{file}"))
    assert after == [line.replace("tulip", "rose") if row == 4 else line for row, line in enumerate(before) if row != 6]


def test_lines_end_as_they_did(flowers):
    flowers.to_csv("dos.csv", index=False, lineterminator="\r\n")
    succeed("score", "dos.csv", "--labels", "kind", "--ids", "name", "--verify", 0, "-o", "run", "-q")
    decide(lapsi.load_run("run"), (3, "relabel", "rose"), (5, "remove", ""))
    succeed("apply", "run", "--review", "review.csv", "-o", "cleaned.csv", "-q")
    before, after = (Path(file).read_bytes().split(b"\n") for file in ("dos.csv", "cleaned.csv"))
    assert after == [line.replace(b"tulip", b"rose") if row == 4 else line for row, line in enumerate(before) if row != 6]
    succeed("export", "run", "--into", "dos.csv", "--to", "both.csv")
    assert Path("both.csv").read_bytes().count(b"\r\n") == N + 1


def _lines(file):
    content = Path(file).read_bytes()
    return (gzip.decompress(content) if file.endswith(".gz") else content).decode().splitlines()


def test_numbers_with_decimal_commas_are_relabelled_as_such(flowers):
    succeed("score", "european.csv", "--labels", "length", "--ids", "name", "--verify", 0, "-o", "run", "-q")
    decide(lapsi.load_run("run"), (3, "relabel", "4.75"))
    succeed("apply", "run", "--review", "review.csv", "-o", "cleaned.csv", "-q")
    cleaned = pd.read_csv("cleaned.csv", sep=";", decimal=",")
    assert cleaned["length"].tolist() == [*flowers["length"][:3], 4.75, *flowers["length"][4:]]


def test_a_review_that_a_spreadsheet_saved(flowers):
    succeed("score", "flowers.csv", "--labels", "kind", "--ids", "name", "--verify", 0, "-o", "run", "-q")
    decide(lapsi.load_run("run"), (3, "relabel", "rose"), (5, "remove", ""))
    plain = read_review("review.csv")
    for how in ({"sep": ";"}, {"sep": "\t", "encoding": "utf-8-sig"}):
        decide(lapsi.load_run("run"), (3, "relabel", "rose"), (5, "remove", ""), **how)
        pd.testing.assert_frame_equal(read_review("review.csv"), plain)
    plain.to_csv("review.csv.gz", index=False)
    pd.testing.assert_frame_equal(read_review("review.csv.gz"), plain)


def test_texts_and_pairs_are_read_from_them(flowers):
    assert open_source("flowers.tsv.gz", Columns(texts="name", labels="kind")).content.values == flowers["name"].tolist()
    assert "parted by ';'" in open_source("european.csv", Columns(texts="name", labels="kind")).said
    rng = np.random.default_rng(0)
    pairs = pd.DataFrame({side: rng.normal(size=12) for side in ("image_features", "text_features")})
    pairs.to_csv("pairs.tsv.gz", index=False, sep="\t")
    said = fail(2, "score-pairs", "pairs.tsv.gz", "--images", "pixels", "-o", "run")
    assert "pairs.tsv.gz has no images named 'pixels'; it has image_features, text_features." in said


def _damaged(content):
    return gzip.compress(content, mtime=0)[:-9] + b"\0" * 9


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("a.csv.gz", b"x,label\n1,a\n2,b\n", "a.csv.gz cannot be read as .csv.gz (Not a gzipped file"),
        (
            "a.tsv.gz",
            gzip.compress(b"x\tlabel\n1\ta\n" * 9, mtime=0)[:-12],
            "a.tsv.gz cannot be read as .tsv.gz (Compressed file ended",
        ),
        ("a.tsv.gz", _damaged(b"x\tlabel\n1\ta\n"), "a.tsv.gz cannot be read as .tsv.gz ("),
        ("a.csv.gz", gzip.compress(b'x,label\n"1,a\n2,b\n', mtime=0), "the quote that opens in line 2 never closes"),
        ("a.tsv", b'x\tlabel\n"1"0\ta\n2\tb\n', "the quote that opens in line 2 closes in line 2 before more text"),
        ("a.csv", b"x;label\n1;a;2\n2;b\n", "a.csv cannot be read as .csv (CSV parse error: Expected 2 columns, got 3"),
        (
            "a.csv",
            b"x;label\n1\n2\n",
            "Did you mean 'x;label'? Its columns seem to be parted by ';'; save it with commas",
        ),
        ("a.tsv", b"", "a.tsv cannot be read as .tsv (Empty CSV file)"),
        ("a.csv.bz2", b"x,label\n", "a.csv.bz2 is a file of kind '.bz2'; expected"),
    ],
)
def test_what_cannot_be_read_is_one_line_and_writes_nothing(tmp_path, monkeypatch, file, content, message):
    monkeypatch.chdir(tmp_path)
    Path(file).write_bytes(content)
    said = fail(2, "score", file, "--labels", "label", "-o", "run", "-q")
    assert message in said
    assert [path.name for path in Path().iterdir()] == [file]


def test_compressed_tables_are_the_same_bytes_again(flowers):
    lapsi.score(flowers[["length"]].to_numpy(), flowers["kind"], verify=0, progress=False).save("run")
    for folder in "ab":
        Path(folder).mkdir()
        succeed("export", "run", "--to", f"{folder}/scores.csv.gz")
    assert Path("a/scores.csv.gz").read_bytes() == Path("b/scores.csv.gz").read_bytes()
    assert Path("a/scores.csv.gz").read_bytes()[4:8] == bytes(4)  # no time of writing
