"""The view of privacy: Rényi divergences of several orders beside a run, and runs side by side."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import lapsi
import oracles
from lapsi import plots
from lapsi.analysis.privacy import by_order, by_training, training_in_words

QUIET = {"progress": False, "verify": 0, "weight_decay": 0.05}


@pytest.fixture(scope="module")
def data():
    inputs, labels = oracles.make_data(40, 3, 3, seed=3)
    return inputs[:, :-1], labels


@pytest.fixture(scope="module", params=["diag", "kfac", "full"])
def run(data, request):
    return lapsi.score(*data, curvature=request.param, **QUIET)


def test_each_order_is_the_score_by_it(data, run):
    found = lapsi.privacy(run, *data, (1, 0.5, 8), progress=False)
    assert [name for name in found.table if name.startswith("renyi")] == ["renyi_0.5", "renyi_1", "renyi_8"]
    assert_allclose(found.table["renyi_1"], run.lsi, rtol=1e-12)
    for order in (0.5, 8):
        alone = lapsi.score(*data, curvature=run.provenance.settings["curvature"], divergence="renyi", order=order, **QUIET)
        assert_allclose(found.table[f"renyi_{order:g}"], alone.lsi, rtol=1e-10)
    assert found.provenance.measures["renyi"]["orders"] == [0.5, 1.0, 8.0]


def test_orders_that_are_there_stay(data, run, tmp_path):
    some = lapsi.privacy(run, *data, (2,), progress=False)
    both = lapsi.privacy(some, *data, (2, 4), progress=False)
    assert_allclose(both.table["renyi_2"], some.table["renyi_2"], rtol=0)
    both.save(tmp_path / "run")
    again = lapsi.load_run(tmp_path / "run")
    assert by_order(again).equals(by_order(both))
    assert next(column.help for column in again.columns if column.name == "renyi_4").startswith("Rényi divergence of order 4")
    assert lapsi.privacy(both, *data, (4,), progress=False) is both


def test_some_samples_weights_and_seeds(data):
    """A part of the samples, each with a weight, trained by two seeds: columns are means over the seeds."""
    weights, recipe = np.linspace(0.5, 2, 40), lapsi.Recipe(epochs=20, seeds=2)
    given = {**QUIET, "sample_weight": weights, "recipe": recipe, "indices": [5, 3, 30]}
    run = lapsi.score(*data, every=10, **given)
    found = lapsi.privacy(run, *data, (1, 2), sample_weight=weights, progress=False).table
    assert_allclose(found["renyi_1"], run.lsi, rtol=1e-10)
    assert_allclose(found["renyi_2"], lapsi.score(*data, divergence="renyi", order=2, **given).lsi, rtol=1e-10)


def test_infinite_ones_are_counted(data):
    scores = lapsi.score(*data, recipe=lapsi.Recipe(epochs=5, seeds=1), prior_precision=0.01, progress=False, verify=0)
    found = lapsi.privacy(scores, *data, (1, 300), progress=False)
    table = by_order(found)
    assert table.loc[1, "n_infinite"] == 0 < table.loc[300, "n_infinite"] == np.isinf(found.table["renyi_300"]).sum()
    assert table.loc[300, "max"] == np.inf
    texts = [text.get_text() for text in plots.by_order(found).texts]
    assert texts == [f"infinite: {table.loc[300, 'n_infinite']} at 300\n(of 40 samples)"]


def test_quantiles_by_order(data, run):
    found = lapsi.privacy(run, *data, (1, 2, 4), progress=False)
    table = by_order(found)
    assert table.index.tolist() == [1.0, 2.0, 4.0]
    assert table.loc[2, "median"] == np.sort(found.table["renyi_2"])[19]
    assert table.loc[4, "max"] == found.table["renyi_4"].max()
    assert (table[["q05", "q25", "median", "q75", "q95", "max"]].diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    assert by_order(found, [2]).index.tolist() == [2.0]


@pytest.fixture(scope="module")
def trained(data):
    """Runs by name: not clipped, and clipped at two norms with and without noise."""
    given = {"learning_rate": 0.5, "momentum": 0.0, "nesterov": False, "epochs": 30, "seeds": 1}
    private = {**given, "batching": "poisson", "batch_size": 20}
    recipes = {
        "free": lapsi.Recipe(**given),
        "loose": lapsi.Recipe(clip_norm=1.0, noise_multiplier=0.5, **private),
        "tight": lapsi.Recipe(clip_norm=0.1, **private),
        "twin": lapsi.Recipe(clip_norm=0.1, **private),
    }
    runs = {name: lapsi.score(*data, recipe=recipe, **QUIET) for name, recipe in recipes.items()}
    return runs | {"closed": lapsi.score(*data, **QUIET)}


def test_runs_by_training(trained):
    table = by_training(trained)
    assert table.index.tolist() == ["tight", "twin", "loose", "free", "closed"]
    words = [training_in_words(row) for _, row in table.iterrows()]
    assert words == [*["clip norm 0.1, noise 0"] * 2, "clip norm 1, noise 0.5", "not clipped", "closed form"]
    lsi = np.sort(trained["free"].lsi)
    assert table.loc["free", "spread"] == lsi[37] / lsi[1]
    assert table.loc["tight", "spread"] < table.loc["loose", "spread"]


def test_the_picture_of_runs_names_their_training(trained):
    axes = plots.by_training(trained)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[::-1][:2] == ["clip norm 0.1, noise 0\ntight", "clip norm 0.1, noise 0\ntwin"]
    assert labels[::-1][2:] == ["clip norm 1, noise 0.5", "not clipped", "closed form"]
    medians = [line.get_xdata()[0] for line in axes.lines[:5]]
    assert_allclose(medians[::-1], [np.median(trained[name].lsi) for name in by_training(trained).index])
    assert "no guarantee" in axes.get_xlabel()


def test_what_cannot_be_compared(trained, data):
    other = lapsi.score(*data, divergence="renyi", order=2, **QUIET)
    with pytest.raises(lapsi.InputError, match=r"different orders \(1 of closed, 2 of other\)"):
        by_training({"closed": trained["closed"], "other": other})
    with pytest.raises(lapsi.InputError, match="no Rényi divergences of its samples"):
        by_order(other)
    nothing = other.from_pandas(other.to_pandas().assign(lsi=0.0))
    with pytest.raises(lapsi.InputError, match="No sample of a has a finite LSI above 0"):
        plots.by_training({"a": nothing, "b": other})


def test_what_has_no_such_divergences(data):
    X, y = data
    run = lapsi.score(*data, **QUIET)
    with pytest.raises(lapsi.InputError, match="data are not those of the run"):
        lapsi.privacy(run, X + 1, y, progress=False)
    for orders in ((), (0,), (1, -2)):
        with pytest.raises(lapsi.InputError, match="orders is"):
            lapsi.privacy(run, X, y, orders, progress=False)
    both_change = lapsi.score(*data, curvature="kfac", recipe=lapsi.Recipe(epochs=2, seeds=1), **QUIET)
    with pytest.raises(lapsi.InputError, match="curvature 'kfac' and engine 'retrain'"):
        lapsi.privacy(both_change, X, y, progress=False)


def test_infinite_scores_are_drawn_and_kept(data, tmp_path):
    given = {"recipe": lapsi.Recipe(epochs=5, seeds=1), "prior_precision": 0.01, "verify": 2, "progress": False}
    scores = lapsi.score(*data, divergence="renyi", order=300, **given)
    n = scores.n_infinite
    assert 0 < n < len(scores)
    scores.save(tmp_path / "run")
    again = lapsi.load_run(tmp_path / "run")
    pd.testing.assert_frame_equal(again.table, scores.table)
    assert scores.as_drawn().lsi.max() == np.sort(scores.lsi)[-n - 1]
    assert scores.summary().loc["all", "curvature_share"] > 0
    for draw in (plots.distribution, plots.by_class):
        assert np.isfinite(draw(scores).get_xlim()).all()
    endless = scores.from_pandas(scores.to_pandas().assign(lsi=np.inf))
    with pytest.raises(lapsi.InputError, match="LSI of all samples is infinite"):
        endless.as_drawn()
