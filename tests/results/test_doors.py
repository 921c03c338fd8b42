"""What a person does next with scores, from the scores themselves."""

import subprocess
import sys

import matplotlib as mpl
import pandas as pd
import pytest

import lapsi
from lapsi import plots
from lapsi.analysis.label_issues import label_issues
from lapsi.analysis.review import read_review
from runs_for_reports import HOSTILE, hostile_scores, make_scores

PNG = b"\x89PNG"


def test_scores_print_on_a_page():
    scores = make_scores(400, n_classes=30)
    text = repr(scores)
    assert text == str(scores)
    assert len(text.splitlines()) < 50
    first = scores.ranking()["id"].iloc[0]
    assert "400 of 400 samples from made up" in text
    assert "18 classes in the middle are left out" in text
    assert f"\n {first:>3} " in text.replace("  ", " ").replace("  ", " ") or str(first) in text
    assert "not the same as a wrong label; low label quality is the evidence" in text
    assert ".report('report.html')" in text


def test_no_name_of_the_data_breaks_the_page_or_moves_the_terminal():
    table = hostile_scores().table
    table["id"] = [f"\x1b[2J{HOSTILE}\n{row}" for row in range(len(table))]
    text = repr(hostile_scores().from_pandas(hostile_scores().table))
    hostile = repr(make_scores(40, ids=[f"\x1b[2J\n{row}" for row in range(40)]))
    assert HOSTILE in text
    assert "\x1b" not in hostile
    assert "�[2J�" in hostile


def test_issues_report_and_plot(tmp_path):
    scores = make_scores(80)
    pd.testing.assert_frame_equal(scores.issues().table, label_issues(scores).table)
    assert scores.issues(0.5).n_flagged == int((scores.table["label_quality"] < 0.5).sum())
    path = str(tmp_path / "run.html")
    assert str(scores.report(path, max_bytes=500_000)) == path
    assert "<title>made up" in (tmp_path / "run.html").read_text(encoding="utf-8")
    drawn = scores.plot("by-class")
    assert drawn._repr_png_().startswith(PNG)
    assert "by_class" in repr(drawn)
    assert drawn.save(str(tmp_path / "figure.png")).read_bytes().startswith(PNG)
    with pytest.raises(lapsi.InputError, match="no figure 'pie' of one run; expected one of distribution, by_class"):
        scores.plot("pie")


def test_a_notebook_shows_axes_and_their_figure():
    axes = plots.distribution(make_scores(80))
    assert axes._repr_png_().startswith(PNG)
    assert axes.figure._repr_png_() == axes._repr_png_()
    own = mpl.figure.Figure().subplots()
    assert not hasattr(plots.distribution(make_scores(80), axes=own), "_repr_png_")


def test_paths_may_be_strings(tmp_path):
    path = tmp_path / "review.csv"
    path.write_text("id,row,label,action,new_label\n1,1,0,keep,\n", encoding="utf-8")
    assert read_review(str(path))["action"].tolist() == ["keep"]


@pytest.mark.slow
def test_scores_are_printed_without_torch():
    program = (
        "import sys; sys.path.insert(0, 'tests'); sys.modules['torch'] = None\n"
        "from lapsi.results.scores import Scores; import lapsi.results.notebook"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
