import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.sparse import csr_array, random_array
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.decomposition import TruncatedSVD
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import lapsi
from lapsi import LaplaceSampleInformation, LaplaceSampleInformationRegressor


@pytest.mark.slow
@parametrize_with_checks([LaplaceSampleInformation(verify=0), LaplaceSampleInformationRegressor(verify=0)])
def test_scikit_learn_conformance(estimator, check):
    check(estimator)


@pytest.mark.slow
def test_attributes_agree_with_score():
    X, y = load_iris(return_X_y=True, as_frame=True)
    X.index = [f"flower {row}" for row in range(150)]
    estimator = LaplaceSampleInformation(curvature="full", verify=0).fit(X, y)
    scores = lapsi.score(X, y, curvature="full", verify=0, progress=False)
    assert_allclose(estimator.lsi_, scores.lsi, rtol=1e-9)
    assert estimator.loo_proba_.shape == (150, 3)
    assert estimator.scores_.table["id"].iloc[3] == "flower 3"
    assert clone(estimator).get_params() == estimator.get_params()


def test_the_probe_is_the_regularised_logistic_regression():
    X, y = load_iris(return_X_y=True)
    estimator = LaplaceSampleInformation(weight_decay=0.1, standardize=True, verify=0).fit(X, y)
    scaled = np.c_[StandardScaler().fit_transform(X), np.ones(len(X))]
    other = LogisticRegression(C=1 / (0.1 * len(X)), fit_intercept=False, tol=1e-10, max_iter=10_000).fit(scaled, y)
    assert_allclose(np.c_[estimator.coef_, estimator.intercept_], other.coef_, atol=1e-5)
    assert_allclose(estimator.predict_proba(X), other.predict_proba(scaled), atol=1e-5)
    assert_allclose(estimator.predict_proba(X).sum(1), 1)


def test_weights_are_told_where_they_are_the_model():
    """With several seeds the probabilities are averaged, and no weights give their mean."""
    X, y = load_iris(return_X_y=True)
    scaled = np.c_[StandardScaler().fit_transform(X), np.ones(len(X))]
    estimator = LaplaceSampleInformation(recipe=lapsi.Recipe(epochs=5, seeds=1), verify=0).fit(X, y)
    logits = scaled @ np.c_[estimator.coef_, estimator.intercept_].T
    assert_allclose(estimator.predict_proba(X), softmax(logits, 1), rtol=1e-9)
    estimator.set_params(recipe=lapsi.Recipe(epochs=5, seeds=2)).fit(X, y)
    assert not hasattr(estimator, "coef_")
    assert not hasattr(estimator, "intercept_")


def test_string_labels_come_back():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    estimator = LaplaceSampleInformation(verify=0).fit(pd.DataFrame(X), pd.Series(names))
    assert set(estimator.predict(pd.DataFrame(X))) == {"setosa", "versicolor", "virginica"}
    assert estimator.score(pd.DataFrame(X), names) > 0.8


def test_settings_are_checked_at_fit():
    with pytest.raises(lapsi.InputError, match="curvature is 'dense'"):
        LaplaceSampleInformation(curvature="dense").fit(*load_iris(return_X_y=True))


@pytest.mark.parametrize(
    "choices", [{}, {"recipe": lapsi.Recipe(epochs=5, seeds=1)}, {"recipe": lapsi.Recipe(epochs=5, seeds=3)}]
)
def test_coefficients_are_those_of_the_predictions_or_are_not_there(choices):
    X, y = load_iris(return_X_y=True)
    model = LaplaceSampleInformation(verify=0, standardize=False, **choices).fit(X[::5], y[::5])
    if choices and choices["recipe"].seeds > 1:
        assert not hasattr(model, "coef_")
        assert not hasattr(model, "intercept_")
        return
    logits = X @ model.coef_.T + model.intercept_
    expected = np.exp(logits - logits.max(1, keepdims=True))
    assert_allclose(model.predict_proba(X), expected / expected.sum(1, keepdims=True), rtol=1e-10)


def test_weights_of_samples_and_classes_are_those_of_logistic_regression():
    X, y = load_iris(return_X_y=True)
    X, y = X[:130], y[:130]
    weights = np.random.default_rng(0).uniform(0.3, 2, len(y))
    options = {"standardize": False, "verify": 0, "weight_decay": 0.1}
    for chosen, balance in ((weights, None), (None, "balanced"), (weights, "balanced")):
        estimator = LaplaceSampleInformation(class_weight=balance, **options).fit(X, y, chosen)
        by_class = np.bincount(y, chosen)
        counted = np.ones(len(y)) if chosen is None else chosen
        counted = counted * (counted.sum() / (3 * by_class))[y] if balance else counted
        other = LogisticRegression(C=1 / (0.1 * counted.sum()), fit_intercept=False, tol=1e-10, max_iter=10_000)
        other.fit(np.c_[X, np.ones(len(X))], y, counted)
        assert_allclose(np.c_[estimator.coef_, estimator.intercept_], other.coef_, atol=1e-5)


def test_decision_function_ranks_as_probabilities_do():
    X, y = load_iris(return_X_y=True)
    estimator = LaplaceSampleInformation(verify=0).fit(X, y)
    assert_allclose(estimator.decision_function(X), estimator.predict_log_proba(X))
    two = LaplaceSampleInformation(verify=0).fit(X[:100], y[:100])
    probability = two.predict_proba(X[:100])[:, 1]
    assert_allclose(1 / (1 + np.exp(-two.decision_function(X[:100]))), probability, rtol=1e-9)


@pytest.mark.parametrize("columns", [1, 2])
def test_the_regressor_is_ridge_regression(columns):
    X, y = load_diabetes(return_X_y=True)
    y = y if columns == 1 else np.c_[y, 100 * X[:, 2] + X[:, 1]]
    estimator = LaplaceSampleInformationRegressor(weight_decay=0.05, noise_variance=1500.0, verify=0).fit(X, y)
    scaled, scale = np.c_[StandardScaler().fit_transform(X), np.ones(len(X))], np.atleast_1d(y.std(0))
    expected = np.empty((len(X), columns))
    for k in range(columns):
        own = y if columns == 1 else y[:, k]
        ridge = Ridge(alpha=0.05 * len(X) * 1500 / scale[k] ** 2, fit_intercept=False, tol=1e-12)
        expected[:, k] = ridge.fit(scaled, (own - own.mean()) / scale[k]).predict(scaled) * scale[k] + own.mean()
    predicted = estimator.predict(X)
    assert predicted.shape == y.shape
    assert_allclose(predicted.reshape(len(X), -1), expected, rtol=1e-7)
    linear = scaled[:, :-1] @ np.atleast_2d(estimator.coef_).T + estimator.intercept_
    assert_allclose(linear, predicted.reshape(len(X), -1), rtol=1e-9)
    assert_allclose(estimator.noise_variance_, [1500.0] * columns)
    assert estimator.loo_prediction_.shape == y.shape


@pytest.mark.slow
def test_the_regressor_is_one_of_scikit_learn():
    X, y = load_diabetes(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(StandardScaler(), LaplaceSampleInformationRegressor(verify=0))
    search = GridSearchCV(pipeline, {"laplacesampleinformationregressor__weight_decay": [1e-4, 0.1, 100.0]}, cv=3).fit(X, y)
    assert search.best_params_["laplacesampleinformationregressor__weight_decay"] != 100.0
    assert 0.4 < search.best_score_ < 0.6
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert_allclose(again.predict(X), search.predict(X))
    assert clone(again).get_params()["steps"][1][1].get_params() == again[1].get_params()


COLUMNS_OF_NO_NUMBERS = {
    "words": ["u", "v"] * 20,
    "moments": pd.date_range("2020", periods=40),
    "spans": pd.timedelta_range("1D", periods=40),
    "kinds": pd.Categorical(["u", "v"] * 20),
    "gaps": pd.array(["u", None] * 20, dtype="string"),
    "months": pd.period_range("2020", periods=40, freq="M"),
    "lists": [[1]] * 40,
}


@pytest.mark.parametrize("name", COLUMNS_OF_NO_NUMBERS)
@pytest.mark.parametrize("estimator", [LaplaceSampleInformation, LaplaceSampleInformationRegressor])
def test_a_column_of_no_numbers_is_named(estimator, name):
    frame = pd.DataFrame({"a": np.arange(40) % 7, "b": pd.array([1, 2] * 20, dtype="Int64")})
    fitted = estimator(verify=0).fit(frame, np.arange(40) % 2)
    odd = frame.assign(**{name: COLUMNS_OF_NO_NUMBERS[name]})
    for call in (lambda: estimator(verify=0).fit(odd, np.arange(40) % 2), lambda: fitted.predict(odd)):
        with pytest.raises(lapsi.InputError, match=f"Column '{name}' holds .*, which is no number; .* encode it first"):
            call()


def sparse_features(width):
    y = np.arange(60) % 3
    random = random_array((60, width), density=0.1, rng=np.random.default_rng(1)).toarray()
    return csr_array(random + np.equal.outer(y, np.arange(width))), y


@pytest.mark.parametrize(("estimator", "proba"), [(LaplaceSampleInformation, True), (LaplaceSampleInformationRegressor, False)])
@pytest.mark.parametrize("width", [40, 300])
def test_sparse_features_go_the_way_of_score_when_fitted_and_when_predicted(estimator, proba, width):
    X, y = sparse_features(width)
    y = y if proba else y + np.arange(60) / 7
    fitted = estimator(verify=0).fit(X, y)
    assert fitted.n_features_in_ == width
    assert (fitted.svd_ is None) == (width == 40)
    known = TruncatedSVD(59, random_state=0).fit(X) if width == 300 else None
    dense = X.toarray() if known is None else X.toarray() @ known.components_.T
    predict = "predict_proba" if proba else "predict"
    expected = getattr(estimator(verify=0).fit(dense, y), predict)(dense[:7])
    for rows in (X[:7], X.tocsc()[:7], X.toarray()[:7]):
        assert_allclose(getattr(fitted, predict)(rows), expected, rtol=1e-6)
    scores = lapsi.score(X, y, verify=0, progress=False)
    assert_allclose(fitted.lsi_, scores.lsi, rtol=1e-9)
    assert fitted.scores_.provenance.data_hash == scores.provenance.data_hash
    assert f"sparse, 60 × {width}" in fitted.scores_.provenance.table["columns"][0]["became"]
    again = pickle.loads(pickle.dumps(fitted))
    assert_allclose(getattr(again, predict)(X), getattr(fitted, predict)(X))
    with pytest.raises(ValueError, match=f"expecting {width} features"):
        fitted.predict(X[:, :-1])
    assert fitted.fit(X.toarray(), y).svd_ is None


def test_a_pipeline_of_sparse_categories_is_told(capsys):
    words = np.array([[f"word {row % 7}", f"name {row % 3}"] for row in range(60)])
    pipeline = make_pipeline(OneHotEncoder(), LaplaceSampleInformation(verify=0, progress=True)).fit(words, words[:, 1])
    assert "sparse, 60 × 10, 20.00% not zero: as it is" in " ".join(capsys.readouterr().err.split())
    assert pipeline.score(words, words[:, 1]) == 1
    assert pipeline[-1].__sklearn_tags__().input_tags.sparse
    gaps = csr_array(np.where(np.eye(60) > 0, np.nan, 0))
    with pytest.raises(ValueError, match="NaN"):
        LaplaceSampleInformation(verify=0).fit(gaps, words[:, 1])
