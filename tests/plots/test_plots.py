"""Figures: that they show the numbers they should, on the axes they are given, in every format."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.testing import assert_array_equal
from PIL import Image
from scipy.stats import spearmanr
from sklearn.datasets import load_digits

import lapsi
from lapsi import plots
from lapsi.data.samples import ImageFiles
from lapsi.plots.distributions import bins_of
from lapsi.report.overview import draw_histogram, flipped_in, gallery_images
from lapsi.report.words import describe
from lapsi.results.regularization import chosen_of
from runs_for_reports import make_scores

X, Y = load_digits(return_X_y=True)
X, Y = X[:200], Y[:200]


@pytest.fixture(scope="module")
def scores():
    flipped = Y.copy()
    flipped[:20] = (Y[:20] + 1) % 10
    columns = {"original_label": Y, "corrupted": flipped != Y, "corruption": np.where(flipped != Y, "flipped label", None)}
    return lapsi.score(X, flipped, columns=columns, verify=0, progress=False)


@pytest.fixture(scope="module")
def other():
    return lapsi.score(X, Y, curvature="kfac", verify=0, progress=False)


def assert_counts_percent(outline, lsi):
    """An outline has the height of the share of `lsi` in every bin, percent."""
    edges, heights = outline.get_xy()[:, 0], outline.get_xy()[:, 1]
    counts, _ = np.histogram(lsi, np.unique(edges))
    assert counts.sum() == len(lsi)
    np.testing.assert_allclose(heights[1:-1:2], 100 * counts / len(lsi))


def test_distributions(scores, other):
    axes = plots.distribution(scores)
    assert axes.get_xscale() == "log"
    (outline,) = axes.patches
    steps = np.unique(outline.get_xy()[:, 0])
    low, high = steps.min(), steps.max()
    assert low <= scores.lsi.min()
    assert high >= scores.lsi.max()
    assert_counts_percent(outline, scores.lsi)
    (median,) = axes.lines
    assert median.get_xdata() == pytest.approx([np.median(scores.lsi)] * 2)
    both = plots.distribution({"one": scores, "two": other})
    assert [text.get_text() for text in both.get_legend().get_texts()] == ["one", "two"]
    for outline, run in zip(both.patches, (scores, other), strict=True):
        assert_counts_percent(outline, run.lsi)


def test_a_noise_floor_is_drawn_beside_the_distribution(scores):
    floor = float(np.quantile(scores.lsi, 0.3))
    provenance = replace(scores.provenance, plan={"noise_floor": {"rounding": floor / 10, "order": floor}})
    axes = plots.distribution(replace(scores, provenance=provenance))
    outline, shade = axes.patches
    assert_counts_percent(outline, scores.lsi)
    assert shade.get_x() + shade.get_width() == pytest.approx(floor)
    assert shade.get_x() == axes.get_xlim()[0]
    assert "noise floor" in [text.get_text() for text in axes.texts]


def test_a_noise_floor_is_drawn_into_the_overview_and_told_in_the_report_of_runs_that_have_one(scores):
    floor = float(np.quantile(scores.lsi, 0.3))
    provenance = replace(scores.provenance, plan={"noise_floor": {"rounding": floor / 10, "order": floor}})
    noisy = replace(scores, provenance=provenance)
    plain_axes, axes = (draw_histogram(Figure().subplots(), run) for run in (scores, noisy))
    assert len(axes.patches) == len(plain_axes.patches) + 1
    shade = axes.patches[-1]
    assert shade.get_x() + shade.get_width() == pytest.approx(floor)
    for drawn, told in ((axes, noisy), (plain_axes, scores)):
        assert ("noise floor" in [text.get_text() for text in drawn.texts]) == (told is noisy)
        sentences = [each for each in describe(told).sentences if "Noise floor" in each]
        assert len(sentences) == (told is noisy)
    (sentence,) = [each for each in describe(noisy).sentences if "Noise floor" in each]
    assert f"{floor:.1e} nats with other batches; 30% of the samples lie below it" in sentence


def test_classes_in_order_of_their_median(scores):
    axes = plots.by_class(scores)
    medians = scores.table.groupby("label")["lsi"].median().sort_values()
    assert [tick.get_text() for tick in axes.get_yticklabels()] == medians.index.astype(str).tolist()
    drawn = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
    for median in medians:
        assert min(abs(np.log(np.array(drawn) / median))) < 1e-9


def test_many_classes_are_cut_in_the_middle():
    y = np.arange(120) % 60
    run = lapsi.score(np.random.default_rng(0).normal(size=(120, 3)), y, refine=0, verify=0, progress=False)
    axes = plots.by_class(run)
    assert len(axes.get_yticklabels()) == 40
    assert axes.get_title(loc="left") == "40 of 60 classes"


def test_corrupted_apart(scores, other):
    axes = plots.corrupted(scores)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["as found (180)", "flipped label (20)"]
    touched = scores.table["corrupted"].to_numpy()
    for outline, kind in zip(axes.patches, (~touched, touched), strict=True):
        assert_counts_percent(outline, scores.lsi[kind])
    with pytest.raises(lapsi.InputError, match="nothing to compare"):
        plots.corrupted(other)
    seconds = lapsi.score(X, Y, columns={"reference_label": np.where(np.arange(200) < 7, -1, Y)}, verify=0, progress=False)
    texts = [text.get_text() for text in plots.corrupted(seconds).get_legend().get_texts()]
    assert texts == ["labels agree (193)", "labels differ (7)"]


def test_correlation(scores, other):
    axes = plots.correlation(scores, other, ("diag", "kfac"))
    expected = spearmanr(scores.lsi, other.lsi).statistic
    assert axes.get_title(loc="left") == f"Spearman {expected:.4f}, 200 samples"
    points = axes.collections[0].get_offsets()
    assert sorted(points[:, 0].tolist()) == sorted(scores.lsi.tolist())
    assert axes.get_xlabel() == "LSI, diag (nats)"


def test_the_choice_of_the_regularisation(scores):
    found = chosen_of(scores.provenance.regularization)
    axes = plots.regularization(scores)
    assert axes.get_xscale() == "log"
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {"each scaled by itself", "all by one factor"}
    *lines, ring = axes.lines
    for (name, n_trained), losses, evidence in zip(found.groups(), lines[::2], lines[1::2], strict=True):
        trials = found.curve(name, n_trained)
        assert losses.get_xdata().tolist() == evidence.get_xdata().tolist() == [trial.weight_decay for trial in trials]
        assert losses.get_ydata().tolist() == [trial.loo_loss for trial in trials]
        np.testing.assert_allclose(evidence.get_ydata(), [-trial.log_evidence / 200 for trial in trials])
    assert (ring.get_xdata()[0], ring.get_ydata()[0]) == (found.chosen.weight_decay, found.chosen.loo_loss)
    assert min(min(line.get_ydata()) for line in lines[::2]) == found.chosen.loo_loss
    with pytest.raises(lapsi.InputError, match="no choice to draw"):
        plots.regularization(lapsi.score(X, Y, weight_decay=1.0, standardize="each", refine=0, verify=0, progress=False))


@pytest.mark.slow
def test_training():
    run = lapsi.score(X, Y, recipe=lapsi.Recipe(epochs=20, seeds=1), every=5, indices=np.arange(30), verify=0, progress=False)
    (line,) = plots.training(run).lines
    assert line.get_xdata().tolist() == [5, 10, 15, 20]
    along = run.trajectory.pivot(index="id", columns="epoch", values="lsi")
    expected = [spearmanr(along[epoch], run.lsi).statistic for epoch in along.columns]
    np.testing.assert_allclose(line.get_ydata(), expected)
    assert expected[-1] == pytest.approx(1)
    with pytest.raises(lapsi.InputError, match="kept no LSI along the training"):
        plots.training(lapsi.score(X, Y, verify=0, progress=False))


def test_galleries(scores):
    images = X.reshape(-1, 8, 8)
    cells = plots.gallery(scores, images, "highest", rows=2)
    assert cells.shape == (2, 5)
    order = np.argsort(-scores.lsi, kind="stable")
    for cell, row in zip(cells.ravel(), order, strict=False):
        np.testing.assert_array_equal(cell.images[0].get_array(), images[row])
        assert cell.get_title().startswith(str(scores.table["label"][row]))
    assert {cell.images[0].get_cmap().name for cell in cells.ravel()} == {"gray"}  # 0 is black, as on the page
    photographs = np.full((len(scores), 4, 4), 100, np.uint8)
    photographs[:, 0] = 101
    assert plots.gallery(scores, photographs)[0, 0].images[0].get_clim() == (0, 255)
    one = plots.gallery(scores, lambda row: images[row], "doubtful", label=3, rows=1)
    worst = scores.table[scores.table["label"] == 3]["label_quality"].idxmin()
    np.testing.assert_array_equal(one[0, 0].images[0].get_array(), images[worst])
    for arguments, message in ((("best",), "which is 'best'"), (("lowest", "elk"), "No sample has the label 'elk'")):
        with pytest.raises(lapsi.InputError, match=message):
            plots.gallery(scores, images, *arguments)


def test_pictures_of_an_overview_that_are_gone_stay_black(tmp_path):
    scores = make_scores(60)
    paths = [tmp_path / f"{row}.png" for row in range(60)]
    for row in range(0, 60, 2):
        Image.new("L", (9, 9), 200).save(paths[row])
    images = gallery_images(scores, ImageFiles(paths))
    ends = np.argsort(scores.lsi, kind="stable")[[*range(10), *range(-10, 0)]]
    assert_array_equal(images[ends].reshape(20, -1).mean(1), np.where(ends % 2 == 0, 200, 0))


def test_labels_that_were_flipped_are_drawn_apart_where_nothing_else_was_changed():
    scores = make_scores(60, columns={"corrupted": [True] * 3 + [False] * 57})
    for changed, n_apart in (
        ({}, None),
        ({"flip_labels": 0.1}, 3),
        ({"flip_labels": 0.1, "noise": 1.0}, None),
        ({"noise": 1.0}, None),
    ):
        record = changed | {"seed": 0, "n_corrupted": 3} if changed else {}
        apart = flipped_in(replace(scores, provenance=replace(scores.provenance, corruption=record)))
        assert (None if apart is None else apart.sum()) == n_apart


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "magic"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_formats_and_axes_of_the_caller(scores, tmp_path, kind, magic):
    axes = Figure(figsize=(3.35, 2.3)).subplots()
    assert plots.distribution(scores, axes) is axes
    assert plots.save(axes, tmp_path / f"figure.{kind}").read_bytes().startswith(magic)
    cells = plots.gallery(scores, X.reshape(-1, 8, 8))
    assert plots.save(cells, tmp_path / f"gallery.{kind}").stat().st_size > 1000
    with pytest.raises(lapsi.InputError, match="kind '.gif'; expected .png"):
        plots.save(axes, tmp_path / "figure.gif")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full disk to write to")
@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_full_disk_is_no_fault_of_the_figure(scores, tmp_path, kind):
    path = tmp_path / f"figure.{kind}"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        plots.save(plots.distribution(scores), path)


def test_no_logarithm_of_nothing(scores):
    table = scores.to_pandas().assign(lsi=0.0)
    with pytest.raises(lapsi.InputError, match="No sample has a finite LSI above 0"):
        plots.distribution(scores.from_pandas(table))


@pytest.mark.parametrize(("n", "expected"), [(1, 8), (25, 10), (400, 40), (10_000, 60)])
def test_few_values_have_few_bins(n, expected):
    values = np.geomspace(1e-3, 10.0, n)
    edges = bins_of(values)
    assert len(edges) == expected + 1
    assert edges[0] < values.min() <= values.max() < edges[-1]
    assert np.histogram(values, edges)[0].sum() == n
