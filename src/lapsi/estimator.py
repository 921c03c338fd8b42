"""scikit-learn estimators around scoring."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self, final

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from lapsi.data.dataset import Dataset, make_dataset
from lapsi.data.tables.column import TABLE, in_words
from lapsi.data.tables.dataset import of_sparse
from lapsi.data.tables.frames import require_numbers
from lapsi.data.tables.sparse import is_sparse, reduced, reduced_alike
from lapsi.data.targets import RealTargets
from lapsi.execution.backend import open_backend
from lapsi.execution.progress import Stages
from lapsi.models.fitted import FittedModel
from lapsi.results.scores import Scores
from lapsi.scoring import score_dataset
from lapsi.settings.objective import HELD, RESIDUALS
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import make_settings
from lapsi.settings.task import CLASSES, REGRESSION

FLOATS = [np.float64, np.float32]


class _Probe(BaseEstimator):
    """What both estimators share: a probe that knows how much each of its training samples taught it."""

    scores_: Scores
    lsi_: np.ndarray
    svd_: TruncatedSVD | None
    _probe: FittedModel

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @abstractmethod
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Trains the probe and scores all samples; errors as in `lapsi.score`.

        Args:
            X: (n_samples, n_features); of a sparse matrix more than 100 features go through a truncated SVD.
            y: their targets.
            sample_weight: (n_samples,) how often each counts; None: once.
        """

    def _fit(self, X: Any, y: Any, sample_weight: Any, ids: Any, task: str) -> Dataset:
        """The same on validated data; gives back the data set."""
        parameters = self.get_params()
        if isinstance(parameters.get("class_weight"), Mapping):
            parameters["class_weight"] = None
        stages = Stages(parameters.pop("progress"))
        settings = make_settings(**parameters)
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        named = ids if ids is not None and getattr(ids, "is_unique", False) else None
        known: dict[str, Any] = {"task": task, "weights": weights, "ids": named}
        if is_sparse(X):
            found = reduced(X)
            self.svd_, dataset = found.svd, of_sparse(found, y, **known)
            stages.say("\n".join(in_words(dataset.made_by[TABLE])))
        else:
            has_columns = hasattr(self, "feature_names_in_")  # of a frame
            self.svd_, dataset = None, replace(make_dataset(X, y, **known), own_units=has_columns)
        with open_backend(settings.execution) as backend:
            rows = np.arange(dataset.n_samples)
            self.scores_, self._probe = score_dataset(dataset, settings, rows, stages, backend=backend)
        self.lsi_ = self.scores_.lsi
        for name in ("coef_", "intercept_"):
            self.__dict__.pop(name, None)
        return dataset

    @property
    def _is_linear(self) -> bool:
        """Whether its predictions are those of one linear model: with several seeds they are a mean that no weights give."""
        return not self.hidden and len(self._probe.params) == 1

    def _outputs(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        require_numbers(X)
        rows = validate_data(self, X, accept_sparse="csr", dtype=FLOATS, reset=False)
        return self._probe.outputs(reduced_alike(self.svd_, rows))


@final
class LaplaceSampleInformation(ClassifierMixin, _Probe):
    """Softmax classifier that knows how much each of its training samples taught it.

    Parameters are those of `lapsi.score` (but ids, indices, task and checkpoint); `class_weight` may also be a dictionary; no
    progress bars are drawn by default.

    Attributes:
        scores_: `Scores`, one row a training sample.
        lsi_: (n_samples,) LSI in nats.
        loo_proba_: (n_samples, n_classes) probabilities under the model that never saw the sample.
        classes_: (n_classes,) label values.
        coef_, intercept_: (n_classes, n_features) and (n_classes,), on the features as they are scaled (`standardize`); of
            a linear probe that was trained once: with several seeds predictions are a mean that no weights give.
        svd_: the truncated SVD through which a sparse X of more than 100 features went, as what is predicted does; else None.
            Then `coef_` is on its components.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.
    """

    def __init__(
        self,
        *,
        curvature: str = "diag",
        divergence: str = "kl",
        order: float | None = None,
        weight_decay: float | str = "auto",
        prior_precision: float | str = "map",
        removal: str = "mean",
        class_weight: str | Mapping[Any, float] | None = None,
        standardize: str | bool = "auto",
        engine: str = "auto",
        hidden: tuple[int, ...] = (),
        activation: str = "relu",
        recipe: Recipe | None = None,
        every: int | None = None,
        refine: int | str = "auto",
        tolerance: float = 1e-3,
        coupled: int = 8,
        converge: int = 0,
        verify: int = 16,
        device: str | None = None,
        dtype: str | None = None,
        seed: int = 0,
        memory_limit: int | None = None,
        backend: str = "local",
        address: str | None = None,
        worker_cpus: int = 1,
        progress: bool = False,
    ) -> None:
        self.curvature = curvature
        self.divergence = divergence
        self.order = order
        self.weight_decay = weight_decay
        self.prior_precision = prior_precision
        self.removal = removal
        self.class_weight = class_weight
        self.standardize = standardize
        self.engine = engine
        self.hidden = hidden
        self.activation = activation
        self.recipe = recipe
        self.every = every
        self.refine = refine
        self.tolerance = tolerance
        self.coupled = coupled
        self.converge = converge
        self.verify = verify
        self.device = device
        self.dtype = dtype
        self.seed = seed
        self.memory_limit = memory_limit
        self.backend = backend
        self.address = address
        self.worker_cpus = worker_cpus
        self.progress = progress

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LaplaceSampleInformation:
        """Trains the probe and scores all samples; errors as in `lapsi.score`.

        Args:
            X: (n_samples, n_features); of a sparse matrix more than 100 features go through a truncated SVD.
            y: (n_samples,) classes.
            sample_weight: (n_samples,) how often each counts; None: once.
        """
        require_numbers(X)
        ids = getattr(X, "index", None)
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=FLOATS, ensure_min_samples=2)
        check_classification_targets(y)
        weights = sample_weight
        if isinstance(self.class_weight, Mapping):  # of each class, as everywhere in scikit-learn
            weights = compute_sample_weight(dict(self.class_weight), y) * _check_sample_weight(sample_weight, X)
        dataset = self._fit(X, y, weights, ids, CLASSES)
        self.classes_ = dataset.classes
        self.loo_proba_ = self.scores_.loo_proba
        if self._is_linear:
            self.coef_, self.intercept_ = self._probe.weights[:, :-1], self._probe.weights[:, -1]
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Log-probabilities (n, n_classes); of two classes the log-odds (n,) of the second."""
        log_proba = self._outputs(X)
        return log_proba[:, 1] - log_proba[:, 0] if len(self.classes_) == 2 else log_proba

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """(n, n_classes) log-probabilities under the model of all training samples."""
        return self._outputs(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """(n, n_classes) probabilities under the model of all training samples."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """(n,) most probable labels."""
        best = self._outputs(X).argmax(1)
        return self.classes_[best]


@final
class LaplaceSampleInformationRegressor(RegressorMixin, _Probe):
    """Linear regression, or one with hidden layers, that knows how much each of its training samples taught it.

    Parameters are those of `lapsi.score` (but ids, indices, task and checkpoint); no progress bars are drawn by default.

    Attributes:
        scores_: `Scores`, one row a training sample.
        lsi_: (n_samples,) LSI in nats.
        loo_prediction_: (n_samples,) or (n_samples, n_outputs), of the model that never saw the sample.
        noise_variance_: (n_outputs,) of the targets around the predictions.
        coef_, intercept_: (n_features,) and a number, or (n_outputs, n_features) and (n_outputs,), on the features as
            they are scaled (`standardize`); of a linear probe that was trained once.
        svd_: the truncated SVD through which a sparse X of more than 100 features went, as what is predicted does; else None.
            Then `coef_` is on its components.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.
    """

    def __init__(
        self,
        *,
        curvature: str = "diag",
        divergence: str = "kl",
        order: float | None = None,
        weight_decay: float | str = "auto",
        prior_precision: float | str = "map",
        removal: str = "mean",
        noise_variance: float | str | tuple[float, ...] = RESIDUALS,
        noise_removal: str = HELD,
        standardize: str | bool = "auto",
        engine: str = "auto",
        hidden: tuple[int, ...] = (),
        activation: str = "relu",
        recipe: Recipe | None = None,
        every: int | None = None,
        refine: int | str = "auto",
        tolerance: float = 1e-3,
        coupled: int = 8,
        converge: int = 0,
        verify: int = 16,
        device: str | None = None,
        dtype: str | None = None,
        seed: int = 0,
        memory_limit: int | None = None,
        backend: str = "local",
        address: str | None = None,
        worker_cpus: int = 1,
        progress: bool = False,
    ) -> None:
        self.curvature = curvature
        self.divergence = divergence
        self.order = order
        self.weight_decay = weight_decay
        self.prior_precision = prior_precision
        self.removal = removal
        self.noise_variance = noise_variance
        self.noise_removal = noise_removal
        self.standardize = standardize
        self.engine = engine
        self.hidden = hidden
        self.activation = activation
        self.recipe = recipe
        self.every = every
        self.refine = refine
        self.tolerance = tolerance
        self.coupled = coupled
        self.converge = converge
        self.verify = verify
        self.device = device
        self.dtype = dtype
        self.seed = seed
        self.memory_limit = memory_limit
        self.backend = backend
        self.address = address
        self.worker_cpus = worker_cpus
        self.progress = progress

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LaplaceSampleInformationRegressor:
        """Trains the probe and scores all samples; errors as in `lapsi.score`.

        Args:
            X: (n_samples, n_features); of a sparse matrix more than 100 features go through a truncated SVD.
            y: (n_samples,) or (n_samples, n_outputs) numbers.
            sample_weight: (n_samples,) how often each counts; None: once.
        """
        require_numbers(X)
        ids = getattr(X, "index", None)
        X, y = validate_data(
            self, X, y, accept_sparse="csr", dtype=FLOATS, ensure_min_samples=2, multi_output=True, y_numeric=True
        )
        dataset = self._fit(X, y, sample_weight, ids, REGRESSION)
        assert isinstance(dataset.targets, RealTargets)
        self._targets, self._is_flat = dataset.targets.take(np.arange(0)), np.ndim(y) == 1
        self.loo_prediction_ = self._shaped(self.scores_.prediction)
        self.noise_variance_ = np.array(self.scores_.provenance.settings["objective"]["noise_variance"])
        if self._is_linear:
            weights, scale = self._probe.weights, self._targets.scale
            self.coef_ = self._shaped((weights[:, :-1] * scale[:, None]).T).T
            self.intercept_ = self._shaped((weights[:, -1] * scale + self._targets.mean)[None])[0]
        return self

    def predict(self, X: Any) -> np.ndarray:
        """(n,) or (n, n_outputs) predictions of the model of all training samples."""
        outputs = self._outputs(X)
        return self._shaped(outputs * self._targets.scale + self._targets.mean)

    def _shaped(self, numbers: np.ndarray) -> np.ndarray:
        """(n, n_outputs), or (n,) where y was so."""
        return numbers[:, 0] if self._is_flat else numbers
