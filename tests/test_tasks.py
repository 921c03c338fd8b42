"""Every kind of targets through `lapsi.score`: LSI against brute force, evidence by hand, and a run that is saved and read."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import chi2
from sklearn.datasets import load_diabetes, load_digits

import lapsi
import oracles
from lapsi.data.dataset import make_dataset
from lapsi.data.labels import make_targets
from lapsi.data.standardize import standardizer_of
from lapsi.results.evidence.numbers import chi_square_tail
from lapsi.settings.settings import make_settings
from lapsi.training.noise import with_noise

QUIET = {"progress": False, "weight_decay": 0.01, "standardize": True}
ROWS = [0, 17, 59]
FIXED = {"rtol": 1e-8}  # the closed form of numbers is exact


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    other = 40 * X[:, 2] + np.random.default_rng(0).normal(size=len(X))
    return X[:60], y[:60], np.c_[y, other][:60]


@pytest.fixture(scope="module")
def bits():
    X, y = load_digits(return_X_y=True)
    kept = X[:80][:, X[:80].std(0) > 1]
    return kept[:, :12], (y[:80, None] >> np.arange(4)) & 1


def scaled(X, weights=None):
    mean = np.average(X, 0, weights)
    deviation = np.sqrt(np.average((X - mean) ** 2, 0, weights))
    return np.c_[(X - mean) / deviation, np.ones(len(X))]


@pytest.mark.parametrize("refine", [0, "auto"])
@pytest.mark.parametrize("structure", ["diag", "kfac", "full"])
@pytest.mark.parametrize("columns", [1, 2])
def test_numbers_against_brute_force(diabetes, structure, columns, refine):
    X, one, two = diabetes
    y = (one[:, None], two)[columns - 1]
    noise = [2500.0, 4.0][:columns]
    scores = lapsi.score(X, y, noise_variance=noise, curvature=structure, refine=refine, dtype="float64", **QUIET)
    targets = (y - y.mean(0)) / y.std(0)
    oracle = oracles.Glm("gaussian", scaled(X), targets, decay=0.01, noise=np.array(noise) / y.std(0) ** 2)
    expected = np.array([oracle.lsi(structure, row, columns) for row in ROWS])
    assert_allclose(scores.table.loc[ROWS, ["lsi_mean", "lsi_curvature"]], expected, **FIXED)
    without = [oracle.without(np.array([row])).train(columns) @ scaled(X)[row] for row in ROWS]
    assert_allclose(scores.prediction[ROWS], np.array(without) * y.std(0) + y.mean(0), rtol=1e-8)


@pytest.mark.parametrize("removal", ["mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("structure", ["diag", "kfac", "full"])
@pytest.mark.parametrize("columns", [1, 2])
def test_noise_found_anew_against_brute_force(diabetes, structure, columns, weighted, removal):
    """Everything estimated and trained again without the sample, and both posteriors formed."""
    X, one, two = diabetes
    y = (one[:, None], two)[columns - 1]
    weights = np.random.default_rng(1).uniform(0.3, 2, len(X)) if weighted else np.ones(len(X))
    options = {"noise_removal": "anew", "curvature": structure, "removal": removal, "sample_weight": weights}
    scores = lapsi.score(X, y, **options, **QUIET)
    inputs, mean = scaled(X, weights), np.average(y, 0, weights)
    targets = (y - mean) / np.sqrt(np.average((y - mean) ** 2, 0, weights))

    def optimum(keep, decay):
        total, params, noises = weights[keep].sum(), [], []
        gram = (inputs[keep].T * weights[keep]) @ inputs[keep]
        for k in range(columns):
            noise = 1.0
            for _ in range(300):
                hat = np.linalg.solve(gram + total * decay * noise * np.eye(len(gram)), inputs[keep].T * weights[keep])
                fitted = inputs[keep] @ (hat @ targets[keep, k])
                rss = weights[keep] @ (targets[keep, k] - fitted) ** 2
                noise = rss / (total - np.trace(hat @ inputs[keep]))
            params.append(hat @ targets[keep, k])
            noises.append(noise)
        return oracles.Glm("gaussian", inputs[keep], targets[keep], weights[keep], decay, noise=np.array(noises)), np.array(
            params
        )

    everyone = np.arange(len(X))
    before, whole = optimum(everyone, 0.01)
    for row in ROWS:
        keep = np.setdiff1d(everyone, row)
        decay = 0.01 if removal == "mean" else 0.01 * weights.sum() / weights[keep].sum()
        after, without = optimum(keep, decay)
        eye = np.eye(whole.size)
        pair = [glm.ggn(at, structure) + glm.prior() * eye for glm, at in ((before, whole), (after, without))]
        expected = oracles.kl((without - whole).ravel(), *pair)
        assert_allclose(scores.table.loc[row, ["lsi_mean", "lsi_curvature"]].astype(float), expected, rtol=1e-7)
    assert scores.provenance.verification["max_relative_error"] < 1e-9


def test_a_group_leaves_with_its_noise(diabetes):
    X, y, _ = diabetes
    options = {**QUIET, "noise_removal": "anew"}
    groups = np.full(len(X), None, dtype=object)
    groups[5], groups[[7, 8]] = "one", "two"
    table = lapsi.leave_group_out(X, y, groups, **options)
    assert_allclose(table.loc["one", "lsi"], lapsi.score(X, y, **options).lsi[5], rtol=1e-9)
    assert table.loc["two", "lsi"] > 0


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("structure", ["diag", "kfac", "full"])
def test_several_labels_against_brute_force(bits, structure, weighted):
    X, present = bits
    weights = np.random.default_rng(5).uniform(0.3, 2, len(X)) if weighted else None
    scores = lapsi.score(X, present, sample_weight=weights, curvature=structure, **QUIET)
    oracle = oracles.Glm("bernoulli", scaled(X, weights), present.astype(float), weights, 0.01)
    expected = np.array([oracle.lsi(structure, row, 4) for row in ROWS])
    assert_allclose(scores.table.loc[ROWS, ["lsi_mean", "lsi_curvature"]], expected, rtol=2e-5)
    assert scores.provenance.verification["max_relative_error"] < 5e-5


def test_evidence_on_numbers(diabetes):
    X, y, _ = diabetes
    scores = lapsi.score(X, y, **QUIET)
    table, noise = scores.table, scores.provenance.settings["objective"]["noise_variance"][0]
    assert scores.task == "regression"
    assert_allclose(table["label"], y)
    assert_allclose(table["loo_residual"], y - table["loo_label"])
    deviation = table["loo_residual"] * np.sqrt((1 - table["leverage"]) / noise)
    assert_allclose(table["loo_deviation"], deviation)
    assert_allclose(table["label_quality"], chi2.sf(deviation**2, 1), rtol=1e-9)
    loss = 0.5 * (table["loo_residual"] ** 2 / noise + np.log(2 * np.pi * noise))
    assert_allclose(table["loo_loss"], loss)
    assert_allclose(table["suggested_label"].isna(), np.abs(deviation) < 2.99977, atol=0)
    whole = scores.summary().loc["all"]
    assert_allclose(whole["loo_r2"], 1 - np.mean(table["loo_residual"] ** 2) / np.var(y))
    assert "rank_in_class" not in table
    for name in ("loo_proba", "classes", "label_codes"):
        with pytest.raises(lapsi.InputError, match="The targets of the run are"):
            getattr(scores, name)


def test_evidence_on_labels(bits):
    X, present = bits
    scores = lapsi.score(X, present, **QUIET)
    given = np.where(present == 1, scores.prediction, 1 - scores.prediction)
    assert_allclose(scores.table["label_quality"], given.min(1), rtol=1e-5)
    assert_allclose(scores.table["loo_probability"], given.prod(1), rtol=1e-5)
    assert_allclose(scores.table["loo_loss"], -np.log(given).sum(1), rtol=1e-4)
    assert list(scores.table["doubted_label"]) == [f"label_{k}" for k in given.argmin(1)]
    assert list(scores.table["doubted_labels"]) == list((given < 0.5).sum(1))
    assert scores.table["label"][3] == "|".join(f"label_{k}" for k in np.flatnonzero(present[3]))
    assert scores.table["suggested_label"].isna().equals(scores.table["label"] == scores.table["loo_label"])
    summary = scores.summary()
    assert summary.loc["label_1", "samples"] == present[:, 1].sum()
    assert summary.loc["label_1", "doubted"] == (given[:, 1] < 0.5).sum()


@pytest.mark.parametrize("kind", ["one", "two", "bits"])
def test_runs_come_back_whole(diabetes, bits, tmp_path, kind):
    X, y = {"one": diabetes[:2], "two": (diabetes[0], diabetes[2]), "bits": bits}[kind]
    scores = lapsi.score(X, y, **QUIET)
    again = lapsi.Scores.load(scores.save(tmp_path / "run"))
    assert again.table.equals(scores.table)
    assert again.task == scores.task
    assert [column.title for column in again.columns] == [column.title for column in scores.columns]
    assert_allclose(again.prediction, scores.prediction)
    assert again.summary().equals(scores.summary())
    html = again._repr_html_()
    assert ("class" in html.replace('class="dataframe"', "")) == (kind == "none")


def test_the_tail_of_chi_square():
    values = np.array([0.0, 0.3, 2.0, 9.0, 60.0])
    for n_squares in range(1, 8):
        assert_allclose(chi_square_tail(values, n_squares), chi2.sf(values, n_squares), rtol=1e-12)


def test_the_noise_is_found(diabetes):
    """By iterating to the fixed point; the evidence of the dense marginal covariance is largest there."""
    X, y, _ = diabetes
    dataset, decay, n = make_dataset(X, y), 0.01, len(y)
    settings = make_settings(weight_decay=decay)
    (found,) = with_noise(dataset, standardizer_of(dataset.survey, "each"), settings).objective.noise
    targets, inputs, noise = make_targets(y, n), scaled(X), 1.0
    values = targets.values[:, 0]
    for _ in range(500):
        hat = inputs @ np.linalg.solve(inputs.T @ inputs + n * decay * noise * np.eye(inputs.shape[1]), inputs.T)
        noise = np.sum((values - hat @ values) ** 2) / (n - np.trace(hat))
    assert_allclose(found / targets.scale[0] ** 2, noise, rtol=1e-9)

    def surprise(noise):
        whole = inputs @ inputs.T / (n * decay) + noise * np.eye(n)
        return np.linalg.slogdet(whole)[1] + values @ np.linalg.solve(whole, values)

    assert surprise(noise) < min(surprise(noise * 1.001), surprise(noise / 1.001))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_variance": [1.0, 2.0, 3.0]}, "noise_variance has 3 values for 1 outputs"),
        ({"noise_variance": -1.0}, "noise_variance is -1.0"),
        ({"class_weight": "balanced"}, "task 'regression'; expected classes"),
        ({"noise_removal": "anew", "noise_variance": 3.0}, "noise_variance is that of the residuals; leave it"),
        ({"noise_removal": "anew", "engine": "retrain"}, "which engine 'retrain' cannot"),
        ({"sample_weight": np.ones(60), "recipe": lapsi.Recipe(epochs=1, clip_norm=1.0)}, "Samples have weights, but Poisson"),
    ],
)
def test_what_numbers_cannot_have_is_refused(diabetes, options, message):
    with pytest.raises(lapsi.InputError, match=message):
        lapsi.score(*diabetes[:2], **QUIET, **options)


def test_noise_belongs_to_numbers(bits):
    with pytest.raises(lapsi.InputError, match="noise_variance was given, but the targets are those of task 'multilabel'"):
        lapsi.score(*bits, noise_variance=1.0, **QUIET)
