import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import softmax
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import lapsi
from lapsi import LaplaceSampleInformation


@pytest.mark.slow
@parametrize_with_checks([LaplaceSampleInformation(verify=0)])
def test_scikit_learn_conformance(estimator, check):
    check(estimator)


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
