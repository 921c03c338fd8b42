import hashlib
import os

import numpy as np
import pandas as pd
import pytest

import lapsi
from commands import run
from lapsi.analysis.review import apply_review, read_review
from runs_for_reports import make_scores

HEADER = "id,row,label,action,new_label,note,run"


@pytest.fixture
def scores():
    return make_scores(
        30, classes=["cat", "dog", "owl, white"], ids=[f"s{row}" for row in range(30)], columns={"group": list("ab") * 15}
    )


@pytest.fixture
def review(tmp_path, scores):
    """Writes decisions (row, action, new label) as the page does; `change` edits the lines."""

    def write(*decisions, change=lambda text: text, of=scores):
        frame = pd.DataFrame(
            [
                [of.table["id"][row], row, of.table["label"][row], action, new_label, "", of.provenance.data_hash]
                for row, action, new_label in decisions
            ],
            columns=HEADER.split(","),
        )
        path = tmp_path / "review.csv"
        path.write_text(change(frame.to_csv(index=False, lineterminator="\r\n")), encoding="utf-8", newline="")
        return path

    return write


def other(scores, row):
    return next(str(name) for name in scores.classes if name != scores.table["label"][row])


def test_decisions_are_applied_and_logged(scores, review):
    before = scores.table.copy()
    path = review((3, "relabel", other(scores, 3)), (5, "remove", ""), (7, "keep", ""), (9, "unsure", ""))
    cleaned = apply_review(scores, read_review(path))
    pd.testing.assert_frame_equal(scores.table, before)
    assert list(cleaned.table) == ["id", "label", "group", "original_label"]
    assert cleaned.table["id"].tolist() == [f"s{row}" for row in range(30) if row != 5]
    assert cleaned.table["label"][3] == other(scores, 3)
    assert cleaned.table["original_label"].tolist() == before["label"].drop(5).tolist()
    unchanged = cleaned.table["id"] != "s3"
    assert (cleaned.table["label"] == cleaned.table["original_label"])[unchanged].all()
    assert cleaned.log[["id", "action"]].to_numpy().tolist() == [["s3", "relabel"], ["s5", "remove"]]
    assert (cleaned.n_kept, cleaned.n_unsure) == (1, 1)


def test_integer_labels_stay_integers(review):
    scores = make_scores(30)
    new = other(scores, 2)
    path = review((2, "relabel", new), of=scores)
    table = apply_review(scores, read_review(path)).table
    assert table["label"].dtype == np.int64
    assert table["label"][2] == int(new)
    path = review((2, "relabel", "17"), of=scores)
    assert apply_review(scores, read_review(path), new_classes=True).table["label"][2] == 17
    path = review((2, "relabel", "owl"), of=scores)
    with pytest.raises(lapsi.InputError, match="labels are integers; expected an integer"):
        apply_review(scores, read_review(path), new_classes=True)


@pytest.mark.parametrize(
    "text",
    ["1_000", " 7", "7 ", "+7", "007", "-0", "٣", "७", "1.0", "0x1f", str(2**63), str(-(2**63) - 1), "9" * 5000],
)
def test_a_new_integer_class_is_written_plainly(review, text):
    scores = make_scores(30)
    path = review((2, "relabel", text), of=scores)
    with pytest.raises(lapsi.InputError, match="expected an integer in plain digits from -9223372036854775808 to"):
        apply_review(scores, read_review(path), new_classes=True)


@pytest.mark.parametrize("text", ["0", "-7", str(2**63 - 1), str(-(2**63))])
def test_integers_of_64_bits_are_new_classes(review, text):
    scores = make_scores(30, classes=[11, 12, 13])
    path = review((2, "relabel", text), of=scores)
    assert apply_review(scores, read_review(path), new_classes=True).table["label"][2] == int(text)


def test_an_earlier_original_label_stays(review):
    scores = make_scores(30, columns={"original_label": np.arange(30)})
    path = review((2, "relabel", other(scores, 2)), of=scores)
    assert apply_review(scores, read_review(path)).table["original_label"].tolist() == list(range(30))


def test_a_review_without_note_and_run_is_read(scores, review):
    path = review((4, "remove", ""))
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame[["id", "row", "label", "action", "new_label"]].to_csv(path, index=False)
    assert len(apply_review(scores, read_review(path)).table) == 29


def test_names_that_look_missing_are_names(review):
    scores = make_scores(30, classes=["NA", "null", "nan"], ids=[f"{row:03d}" for row in range(30)])
    path = review((1, "relabel", other(scores, 1)), of=scores)
    assert apply_review(scores, read_review(path)).table["label"][1] == other(scores, 1)


@pytest.mark.parametrize(
    ("decisions", "change", "message"),
    [
        ([(1, "remove", "")], lambda text: text.replace("s1,", "s99,"), "names the sample 's99', which the run does not have"),
        ([(1, "remove", "")], lambda text: text.replace("remove", "burn"), "has the action 'burn'; expected one of keep"),
        ([(1, "relabel", "")], str, "says relabel without a new label"),
        ([(1, "relabel", "fox")], str, "to 'fox', which is no class of this run .*--new-classes"),
        ([(1, "keep", "cat")], str, "says keep but has the new label 'cat'"),
        ([(1, "remove", ""), (1, "keep", "")], str, "names the sample 's1' twice"),
        ([(1, "remove", "")], lambda text: text.replace("0" * 32, "f" * 32), "belongs to another run"),
        ([(1, "remove", "")], lambda text: text.replace("s1,1,", "s1,2,"), "belongs to another run: sample 's1' stands there"),
        ([(1, "remove", "")], lambda text: text.replace("action", "verb"), "columns id, row, label, verb.*expected each of"),
        ([(1, "remove", "")], lambda text: text.replace("s1,1,", "s1,"), "record 2 has 6 cells"),
        ([(1, "remove", "")], lambda text: "", r"columns \(none\)"),
    ],
)
def test_what_cannot_be_meant_is_refused(scores, review, decisions, change, message):
    path = review(*decisions, change=change)
    with pytest.raises(lapsi.InputError, match=message):
        apply_review(scores, read_review(path))


def test_relabelling_to_the_same_label_is_refused(scores, review):
    path = review((1, "relabel", scores.table["label"][1]))
    with pytest.raises(lapsi.InputError, match="which is its label; use keep"):
        apply_review(scores, read_review(path))
    with pytest.raises(lapsi.InputError, match="cannot be read as a review"):
        read_review(path.with_name("nowhere.csv"))


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_the_command_writes_data_and_log_and_nothing_else(scores, review, tmp_path, kind):
    scores.save(tmp_path / "run")
    path = review((3, "relabel", other(scores, 3)), (5, "remove", ""))
    output = tmp_path / f"cleaned.{kind}"
    result = run("apply", tmp_path / "run", "--review", path, "-o", output)
    assert result.returncode == 0, result.stderr
    assert "29 samples" in result.stdout
    assert "1 removed, 1 relabelled" in result.stdout
    table = {"csv": pd.read_csv, "parquet": pd.read_parquet}[kind](output)
    assert len(table) == 29
    assert table["label"][3] == other(scores, 3)
    log = pd.read_csv(tmp_path / f"cleaned.{kind}.log.csv")
    assert log["action"].tolist() == ["relabel", "remove"]
    refused = run("apply", tmp_path / "run", "--review", path, "-o", output)
    assert (refused.returncode, "--force" in refused.stderr) == (3, True)
    assert run("apply", tmp_path / "run", "--review", path, "-o", output, "--force", "--quiet").returncode == 0
    own = run("apply", tmp_path / "run", "--review", path, "-o", path, "--force")
    assert (own.returncode, "is never overwritten" in own.stderr) == (3, True)
    assert {each.name for each in tmp_path.iterdir()} == {"run", "review.csv", output.name, f"{output.name}.log.csv"}


def test_the_log_names_the_data_that_it_belongs_to(scores, review, tmp_path, monkeypatch):
    scores.save(tmp_path / "run")
    output, log = tmp_path / "cleaned.csv", tmp_path / "cleaned.csv.log.csv"
    call = ("apply", tmp_path / "run", "--review", review((3, "relabel", other(scores, 3))), "-o", output, "--quiet")
    assert run(*call).returncode == 0
    old = output.read_bytes(), log.read_bytes()
    assert pd.read_csv(log)["sha256"].tolist() == [hashlib.sha256(old[0]).hexdigest()]
    review((5, "remove", ""))
    replace, done = os.replace, []

    def stop_at_the_second(*arguments):
        if done:
            raise KeyboardInterrupt
        done.append(arguments)
        replace(*arguments)

    monkeypatch.setattr(os, "replace", stop_at_the_second)
    assert run(*call, "--force").returncode == 130
    monkeypatch.undo()
    assert output.read_bytes() == old[0]
    assert log.read_bytes() != old[1]
    assert pd.read_csv(log)["sha256"].tolist() != [hashlib.sha256(old[0]).hexdigest()]
    assert run(*call, "--force").returncode == 0
    assert pd.read_csv(log)["sha256"].tolist() == [hashlib.sha256(output.read_bytes()).hexdigest()]
    assert {each.name for each in tmp_path.iterdir()} == {"run", "review.csv", output.name, log.name}


def test_a_refused_review_is_one_line_and_writes_nothing(scores, review, tmp_path):
    scores.save(tmp_path / "run")
    path = review((3, "relabel", "fox"))
    result = run("apply", tmp_path / "run", "--review", path, "-o", tmp_path / "out.csv")
    assert (result.returncode, len(result.stderr.strip().splitlines())) == (2, 1)
    assert not (tmp_path / "out.csv").exists()
    ok = run("apply", tmp_path / "run", "--review", path, "-o", tmp_path / "out.csv", "--new-classes")
    assert ok.returncode == 0
    taken = tmp_path / "new.csv.log.csv"
    taken.write_text("mine")
    late = run("apply", tmp_path / "run", "--review", path, "-o", tmp_path / "new.csv", "--new-classes")
    assert (late.returncode, taken.read_text()) == (3, "mine")
    assert not (tmp_path / "new.csv").exists()


def test_the_source_is_never_overwritten(review, tmp_path):
    source = tmp_path / "data.parquet"
    source.write_bytes(b"precious")
    scores = make_scores(30, source=str(source))
    scores.save(tmp_path / "run")
    path = review((3, "remove", ""), of=scores)
    result = run("apply", tmp_path / "run", "--review", path, "-o", source, "--force")
    assert (result.returncode, source.read_bytes()) == (3, b"precious")
