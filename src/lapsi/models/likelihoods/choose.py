"""The likelihood of each kind of targets."""

from __future__ import annotations

import torch

from lapsi.data.targets import ClassTargets, MultiLabelTargets, RealTargets, Targets
from lapsi.models.likelihoods.base import Likelihood
from lapsi.models.likelihoods.bernoulli import bernoulli
from lapsi.models.likelihoods.gaussian import gaussian
from lapsi.models.likelihoods.softmax import softmax


def likelihood_of(targets: Targets, noise_variance: tuple[float, ...], device: torch.device) -> Likelihood:
    """What the targets are predicted with; `noise_variance` (K,) of numbers, in their own units squared; () for others,
    and where it is not known yet: their variance stands for it.
    """
    match targets:
        case ClassTargets():
            return softmax(targets.n_outputs, device)
        case MultiLabelTargets():
            return bernoulli(targets.n_outputs, device)
        case RealTargets():
            variance = torch.from_numpy(targets.scale).square()
            scaled = torch.tensor(noise_variance or variance.tolist(), dtype=torch.float64) / variance
            return gaussian(scaled.to(device))
    raise NotImplementedError(type(targets).__name__)


def directions_of(targets: Targets) -> int:
    """F, how many directions of the outputs the likelihood sees: the softmax all but one, others all."""
    return targets.n_outputs - isinstance(targets, ClassTargets)
