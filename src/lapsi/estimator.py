"""A scikit-learn estimator around scoring."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from lapsi.data.dataset import make_dataset
from lapsi.execution.progress import Stages
from lapsi.scoring import score_dataset
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import make_settings


class LaplaceSampleInformation(ClassifierMixin, BaseEstimator):
    """Softmax classifier that knows how much each of its training samples taught it.

    Parameters are those of `lapsi.score` (but ids, indices and checkpoint); no progress bars are drawn by default.

    Attributes:
        scores_: `Scores`, one row a training sample.
        lsi_: (n_samples,) LSI in nats.
        loo_proba_: (n_samples, n_classes) probabilities under the model that never saw the sample.
        classes_: (n_classes,) label values.
        coef_, intercept_: (n_classes, n_features) and (n_classes,), on standardized features where that is on; of a linear
            probe that was trained once: with several seeds predictions are a mean that no weights give.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.
    """

    def __init__(
        self,
        *,
        curvature: str = "diag",
        weight_decay: float = 0.01,
        prior_precision: float | str = "map",
        removal: str = "mean",
        standardize: bool = True,
        engine: str = "auto",
        hidden: tuple[int, ...] = (),
        activation: str = "relu",
        recipe: Recipe | None = None,
        every: int | None = None,
        refine: int | str = "auto",
        verify: int = 16,
        device: str | None = None,
        dtype: str | None = None,
        seed: int = 0,
        memory_limit: int | None = None,
        progress: bool = False,
    ) -> None:
        self.curvature = curvature
        self.weight_decay = weight_decay
        self.prior_precision = prior_precision
        self.removal = removal
        self.standardize = standardize
        self.engine = engine
        self.hidden = hidden
        self.activation = activation
        self.recipe = recipe
        self.every = every
        self.refine = refine
        self.verify = verify
        self.device = device
        self.dtype = dtype
        self.seed = seed
        self.memory_limit = memory_limit
        self.progress = progress

    def fit(self, X: Any, y: Any) -> LaplaceSampleInformation:
        """Trains the probe and scores all samples; errors as in `lapsi.score`."""
        parameters = self.get_params()
        stages = Stages(parameters.pop("progress"))
        settings = make_settings(**parameters)
        ids = getattr(X, "index", None)
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], ensure_min_samples=2)
        check_classification_targets(y)
        dataset = make_dataset(X, y, ids=ids if ids is not None and getattr(ids, "is_unique", False) else None)
        self.scores_, self._probe = score_dataset(dataset, settings, np.arange(dataset.n_samples), stages)
        self.classes_ = dataset.classes
        self.lsi_ = self.scores_.lsi
        self.loo_proba_ = self.scores_.loo_proba
        for name in ("coef_", "intercept_"):
            self.__dict__.pop(name, None)
        if not self.hidden and len(self._probe.params) == 1:
            self.coef_, self.intercept_ = self._probe.weights[:, :-1], self._probe.weights[:, -1]
        return self

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """(n, n_classes) log-probabilities under the model of all training samples."""
        check_is_fitted(self)
        return self._probe.outputs(validate_data(self, X, dtype=[np.float64, np.float32], reset=False))

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, n_classes) probabilities under the model of all training samples."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """(n,) most probable labels."""
        check_is_fitted(self)
        return self.classes_[self.predict_log_proba(X).argmax(1)]
