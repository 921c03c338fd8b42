"""The problem of a trained torch module, from its data set and what the user chose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from lapsi.data.batches import IGNORED, Arguments, Batches, rows_in_words
from lapsi.data.targets import ClassTargets, MultiLabelTargets, RealTargets, Targets, TokenTargets
from lapsi.errors import InputError, LapsiError, first_line
from lapsi.execution.progress import Advance
from lapsi.models.likelihoods.base import Likelihood
from lapsi.models.likelihoods.choose import likelihood_of
from lapsi.models.likelihoods.softmax import softmax
from lapsi.models.module.capture import pass_through
from lapsi.models.module.footprint import Footprint, footprint
from lapsi.models.module.layers import Layer
from lapsi.models.module.penultimate import Features, Penultimate, penultimate
from lapsi.models.module.roots import FewestRoots, Roots, directions_needed
from lapsi.models.module.sample_loss import OnePrediction, SampleLoss, TokenPredictions
from lapsi.models.module.signed_roots import SignedRoots, outputs_needed
from lapsi.models.module.uses import require_all_uses
from lapsi.problem.module import ModuleProblem
from lapsi.problem.objective import Objective
from lapsi.settings.network import BINARY, CROSS_ENTROPY, MEAN, NEXT_TOKEN, NetworkSettings

PASS_SIZE = 64
PASS_BYTES = 2**29  # of what a pass holds
LEFT_OUT = 1e-2  # of the trace of a sample's S: less than what the eigenbasis leaves out
CHEAP_FLOP = 1e10  # of all roots, of which none is then left out
DRAWN_MEDIAN, DRAWN_MOST = "drawn_median", "drawn_most"

Read = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]  # of outputs, targets and rows what is kept of both
ASKED_AGAIN = 8  # samples
SAME, ROUNDINGS = 1e-3, 8.0  # of the largest output: what two passes may differ by, at least and in roundings


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A module as it is, on the data that it was trained on.

    Attributes:
        problem: it.
        settings: with the noise variance of numbers.
        targets: of all samples.
        outputs: (N, K) float64 as `ModuleProblem.outputs` tells them.
        n_directions: of a sample, on average.
        pass_bytes: that a pass takes.
        drawn: `drawn_median` and `drawn_most`, of the samples, the share of the trace of S that is drawn; empty where none is,
            or all.
        features: what the module makes of the samples; None where it has no last linear layer.
    """

    problem: ModuleProblem
    settings: NetworkSettings
    targets: Targets
    outputs: np.ndarray
    n_directions: float
    pass_bytes: int
    drawn: dict[str, float] = field(default_factory=dict)
    features: Features | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Told:
    """What the caller says of the samples and outputs.

    Attributes:
        weights: (N,) float64, how often each sample counts; None for once.
        classes: names of the outputs, or None.
        pass_size: samples that go through the module at once; None: as many as fit.
    """

    weights: Tensor | None
    classes: Sequence[str] | None
    pass_size: int | None


def module_problem(
    model: nn.Module, layers: tuple[Layer, ...], batches: Batches, settings: NetworkSettings, told: Told, advance: Advance
) -> Trained:
    """By a pass over the data, of which the targets are checked.

    Raises:
        InputError: when outputs and targets do not go together, or outputs are not finite.
    """
    taken, last = footprint(model, layers, batches), penultimate(model, batches)
    _require_a_function(model, batches)
    require_all_uses(model, layers, batches)
    size = told.pass_size or _pass_size(taken, settings.network.draws, batches)
    loss: SampleLoss
    drawn: dict[str, float] = {}
    if len(taken.shape) == 2 and settings.network.loss in (CROSS_ENTROPY, NEXT_TOKEN):
        loss = _token_loss(taken.shape[1], settings, batches.device)
        n_directions = float(loss.n_directions)
        outputs, counts, features = _through(model, batches, size, last, _told_by(loss), advance)
        targets: Targets = TokenTargets(counts)
        loss = replace(loss, order_by=torch.from_numpy(counts))
    else:
        _require_one_prediction(taken.shape, settings)
        outputs, values, features = _through(model, batches, size, last, _as_they_are, advance)
        targets = _targets(settings.network.loss, values, outputs.shape[1], told.classes)
        settings = _with_noise(settings, targets, outputs, told.weights)
        left_out = _left_out(settings, 2.0 * outputs.size * sum(layer.n_params for layer in layers))
        likelihood = likelihood_of(targets, settings.objective.noise, batches.device)
        given, wanted = (torch.from_numpy(values).to(batches.device) for values in (outputs, targets.values))
        roots, needed, drawn = _roots(likelihood, given, wanted, left_out, settings)
        loss = OnePrediction(likelihood, wanted, roots, needed)
        size, n_directions = told.pass_size or _pass_size(taken, int(needed.max()), batches), float(needed.double().mean())
    spec = settings.objective
    decay = 0.0 if settings.is_open else spec.decay
    objective = Objective(decay, spec.prior_precision, spec.removal)
    problem = ModuleProblem(model, layers, batches, loss, objective, size, told.weights)
    held = size * taken.pass_bytes(round(n_directions), max(4, batches.dtype.itemsize))
    return Trained(problem, settings, targets, outputs, n_directions, held, drawn, features)


def _roots(
    likelihood: Likelihood, outputs: Tensor, targets: Tensor, left_out: float, settings: NetworkSettings
) -> tuple[Roots, Tensor, dict[str, float]]:
    """Which roots stand for the samples, how many directions each takes (N,), and what is drawn of them.

    They are drawn where those of a few outputs would leave out more than `left_out` of some sample.
    """
    found = directions_needed(likelihood, outputs, targets, left_out)
    if left_out == 0 or bool((found.beyond <= left_out).all()):
        return FewestRoots(left_out), found.count.cpu(), {}
    matter, draws = outputs_needed(likelihood, outputs, left_out), settings.network.draws
    roots = SignedRoots(left_out, draws, settings.execution.seed, int(matter.count.max()))
    share = {DRAWN_MEDIAN: float(matter.beyond.median()), DRAWN_MOST: float(matter.beyond.max())}
    return roots, 1 + draws + matter.count.cpu(), share


def _left_out(settings: NetworkSettings, flop: float) -> float:
    """Share of the trace of S that roots may miss, all of which take so many operations at least."""
    return 0.0 if settings.curvature == "full" or flop <= CHEAP_FLOP else LEFT_OUT


def _pass_size(taken: Footprint, n_directions: int, batches: Batches) -> int:
    """Samples that fit into a pass."""
    return max(1, min(PASS_SIZE, PASS_BYTES // taken.pass_bytes(n_directions, max(4, batches.dtype.itemsize))))


def _token_loss(n_outputs: int, settings: NetworkSettings, device: torch.device) -> TokenPredictions:
    if settings.curvature == "full":
        raise InputError(
            "curvature is 'full', which texts have too many outputs for; choose 'ekfac', 'kfac' or 'diag', or one prediction "
            "a sample."
        )
    spec = settings.network
    likelihood = softmax(n_outputs, device)
    return TokenPredictions(likelihood, spec.loss == NEXT_TOKEN, spec.tokens == MEAN, spec.draws, settings.execution.seed)


def _as_they_are(outputs: Tensor, given: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    return outputs.double(), given


def _told_by(loss: TokenPredictions) -> Read:
    """The loss of each text and how many of its tokens count."""

    def read(outputs: Tensor, given: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        _require_tokens(outputs, given, rows)
        targets = loss.targets_of(rows, given)
        counts = (targets != IGNORED).sum(1)
        if bool((counts == 0).any()):
            row = int(rows[(counts == 0).cpu()][0])
            raise InputError(f"The text in row {row} has no token that counts; leave it out, or see its targets.")
        return loss.told(outputs, targets), counts

    return read


def _require_tokens(outputs: Tensor, given: Tensor, rows: Tensor) -> None:
    n_outputs = outputs.shape[2]
    if given.is_floating_point() or given.shape != outputs.shape[:2]:
        raise InputError(
            f"The targets have shape {tuple(given.shape)} and type {given.dtype}, the outputs {tuple(outputs.shape)}; expected "
            "an integer for each token."
        )
    if bool(((given != IGNORED) & ((given < 0) | (given >= n_outputs))).any()):
        raise InputError(
            f"The targets of rows {int(rows[0])} to {int(rows[-1])} hold numbers from {int(given.min())} to "
            f"{int(given.max())}; expected 0 to {n_outputs - 1}, or {IGNORED} for a token that does not count."
        )


def _require_one_prediction(shape: Sequence[int], settings: NetworkSettings) -> None:
    if settings.network.loss == NEXT_TOKEN or len(shape) != 1:
        expected = "(T, K) for loss 'next_token'" if settings.network.loss == NEXT_TOKEN else "(K,)"
        raise InputError(f"The module gives outputs of shape {tuple(shape)} for one sample; expected {expected}.")


def _through(
    model: nn.Module, batches: Batches, size: int, last: Penultimate | None, read: Read, advance: Advance
) -> tuple[np.ndarray, np.ndarray, Features | None]:
    """What is kept (N, …) of the outputs of the module for all samples, of their targets, and their features."""
    outputs, targets, features = [], [], []
    for rows in torch.arange(len(batches)).split(size):
        given = batches.take(rows)
        with ExitStack() as hooks:
            seen = [] if last is None else hooks.enter_context(last.watched())
            kept = read(_outputs(model, given, rows), given.targets, rows)
        outputs.append(kept[0].cpu())
        targets.append(kept[1].cpu())
        if last is not None and seen and len(seen[-1]) == len(rows):
            features.append(last.features(seen[-1], given).cpu())
        advance(len(rows))
    found = None if last is None else last.of_all(features, len(batches))
    return torch.cat(outputs).numpy(), torch.cat(targets).numpy(), found


def _outputs(model: nn.Module, given: Arguments, rows: Tensor) -> Tensor:
    """What the module gives (n, …) for samples `rows` (n,)."""
    try:
        with torch.no_grad():
            found = pass_through(model, (), len(rows), given).outputs
    except (LapsiError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{rows_in_words(rows)} of the data set cannot go through the module together: {first_line(error)}."
        ) from error
    if found.ndim < 2 or len(found) != len(rows):
        raise InputError(f"The module gives outputs of shape {tuple(found.shape)} for {len(rows)} samples; expected (n, K).")
    wrong = ~found.isfinite().flatten(1).all(1)
    if bool(wrong.any()):
        row = int(rows[wrong.cpu()][0])
        raise InputError(
            f"The module gives outputs that are not finite, first for the sample in row {row}: its input holds such "
            "numbers, or training diverged. Mend or leave out the sample, or train the module again."
        )
    return found


def _require_a_function(model: nn.Module, batches: Batches) -> None:
    """Refuses outputs that are drawn at random, or that depend on what else is in the batch, looking at some samples."""
    rows = batches.spread(ASKED_AGAIN)
    first, again = (_outputs(model, batches.take(rows), rows) for _ in range(2))
    near = max(SAME, ROUNDINGS * torch.finfo(first.dtype).eps) * float(first.abs().max())
    if not torch.allclose(first, again, 0.0, near):
        raise InputError(
            "The module gives other outputs when it is asked again for the same samples: something in it draws at random in "
            "evaluation mode too, as dropout does that is called as a function without training=self.training. Turn it off."
        )
    alone = [_outputs(model, batches.take(row[None]), row[None])[0] for row in rows]
    pairs = [(one, other) for one, other in zip(alone, first, strict=True) if one.shape == other.shape]
    if not all(torch.allclose(one, other, 0.0, near) for one, other in pairs):
        raise InputError(
            "What the module gives for a sample depends on the others in its batch, as statistics over a batch do; expected a "
            "function of each sample by itself."
        )


def _targets(loss: str, values: np.ndarray, n_outputs: int, names: Sequence[str] | None) -> Targets:
    """The targets of the samples, as the loss reads them."""
    if names is not None and (isinstance(names, str) or not isinstance(names, Sequence | np.ndarray)):
        raise InputError(f"classes is {names!r}; expected a list with a name for each of the {n_outputs} outputs.")
    given = list(range(n_outputs) if names is None else names)
    called = np.array(given, dtype=None if len(set(map(type, given))) == 1 else object)
    if len(called) != n_outputs:
        raise InputError(f"classes has {len(called)} names, but the module gives {n_outputs} outputs.")
    if called.ndim != 1 or called.dtype.kind not in "iUb":
        raise InputError("classes holds other names than strings, or integers; expected one for each output, all of one type.")
    if len(set(called.tolist())) < n_outputs:
        raise InputError("classes has a name twice; expected one for each output, in the order of the outputs.")
    if loss == CROSS_ENTROPY:
        if values.ndim != 1 or values.dtype.kind not in "iu" or values.min() < 0 or values.max() >= n_outputs:
            raise InputError(
                f"The targets have shape {values.shape} and type {values.dtype}, from {values.min()} to {values.max()}; "
                f"expected (N,) integers from 0 to {n_outputs - 1} for cross entropy."
            )
        return ClassTargets(values.astype(np.int64), called)
    wide = values.reshape(len(values), -1).astype(np.float64)
    if wide.shape[1] != n_outputs:
        raise InputError(f"The targets have shape {values.shape}; expected (N, {n_outputs}), as the module has outputs.")
    text = called.astype(str) if names is not None else np.array([f"output {number}" for number in range(n_outputs)])
    if loss == BINARY:
        if not np.isin(wide, (0, 1)).all():
            raise InputError("The targets hold other numbers than 0 and 1; expected those for binary cross entropy.")
        return MultiLabelTargets(wide, text)
    if not np.isfinite(wide).all():
        raise InputError(f"A target in row {int((~np.isfinite(wide)).any(1).argmax())} is missing or infinite.")
    return RealTargets(wide, np.zeros(n_outputs), np.ones(n_outputs), text)


def _with_noise(settings: NetworkSettings, targets: Targets, outputs: np.ndarray, weights: Tensor | None) -> NetworkSettings:
    """With the noise variance of numbers: as given, or the mean square of what the trained module misses, the same for all
    outputs, as the mean squared error has it."""
    if not isinstance(targets, RealTargets):
        return settings
    if isinstance(settings.objective.noise_variance, str):
        missed = np.square(targets.given - outputs)
        common = np.average(missed, 0, None if weights is None else weights.cpu().numpy()).mean()
        found = np.broadcast_to(common, targets.n_outputs)
    else:
        found = np.broadcast_to(settings.objective.noise_variance, targets.n_outputs)
    noise = tuple(float(value) for value in np.maximum(found, np.finfo(np.float64).tiny))
    return replace(settings, objective=replace(settings.objective, noise_variance=noise))
