"""Figures of numbers and of several labels a sample."""

import numpy as np
import pytest

import lapsi
from commands import run
from lapsi import plots
from lapsi.report.overview import save_overview
from runs_of_targets import digits_as_bits, numbers


@pytest.fixture(scope="module")
def runs():
    return {"one": numbers(1), "two": numbers(2), "labels": digits_as_bits()}


@pytest.mark.parametrize("name", ["one", "two", "labels"])
def test_parts_in_order_of_their_median(runs, name):
    scores = runs[name]
    axes = plots.by_class(scores)
    summary = scores.summary().iloc[:-1]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == summary.index.tolist()
    drawn = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
    for median in summary["lsi_median"]:
        assert min(abs(np.log(np.array(drawn) / median))) < 1e-9
    assert len(plots.distribution(scores).patches) == 1


@pytest.mark.parametrize("output", [None, "mass"])
def test_residuals_show_targets_against_predictions(runs, output):
    scores = runs["two"] if output else runs["one"]
    axes = plots.residuals(scores, output)
    points = axes.collections[0]
    given = scores.table["label_mass" if output else "label"].to_numpy()
    expected = np.column_stack([scores.prediction[:, 1 if output else 0], given])
    order = np.argsort(scores.lsi, kind="stable")
    np.testing.assert_allclose(points.get_offsets(), expected[order])
    np.testing.assert_allclose(points.get_array(), scores.lsi[order])
    assert axes.get_ylabel() == ("target, mass" if output else "target")
    assert axes.get_xlim()[0] < expected[:, 0].min()


def test_what_makes_no_sense_is_refused(runs):
    with pytest.raises(lapsi.InputError, match="task 'multilabel'; residuals are of numbers"):
        plots.residuals(runs["labels"])
    with pytest.raises(lapsi.InputError, match="no target 'weight'; it has progression, mass"):
        plots.residuals(runs["two"], "weight")
    with pytest.raises(lapsi.InputError, match="no second targets"):
        plots.corrupted(runs["two"])
    with pytest.raises(lapsi.InputError, match="targets of the run are numbers, so there are no galleries of one label"):
        plots.gallery(runs["one"], np.zeros((442, 2, 2)), label=151)


@pytest.mark.slow
def test_the_command_draws_them(runs, tmp_path):
    for name, scores in runs.items():
        scores.save(tmp_path / name)
    done = run("plot", "residuals", tmp_path / "one", "-o", tmp_path / "one.png")
    assert done.returncode == 0, done.stderr
    refused = run("plot", "residuals", tmp_path / "labels", "-o", tmp_path / "labels.png")
    assert (refused.returncode, len(refused.stderr.strip().splitlines())) == (2, 1)
    assert not (tmp_path / "labels.png").exists()


@pytest.mark.slow
def test_galleries_and_overviews(runs, tmp_path):
    images = np.random.default_rng(0).random((442, 4, 4))
    labels = runs["labels"]
    cells = plots.gallery(labels, images, "lowest", label="bit 3", rows=1)
    inside = labels.table["label"].str.split("|").map(lambda names: "bit 3" in names).to_numpy()
    first = min(np.flatnonzero(inside), key=lambda row: labels.lsi[row])
    np.testing.assert_array_equal(cells[0, 0].images[0].get_array(), images[first])
    title = plots.gallery(runs["one"], images, "doubtful", rows=1)[0, 0].get_title()
    worst = runs["one"].table.loc[runs["one"].table["label_quality"].idxmin()]
    assert title == f"{worst['label']:.4g} → {worst['suggested_label']:.4g}?"
    for name, scores in runs.items():
        save_overview(scores, tmp_path / f"{name}.png", images[: len(scores)], np.arange(len(scores)) % 9 == 0)
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
