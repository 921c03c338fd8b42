"""Plain training of networks on parts of a data set, and their accuracies along the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import lapsi
from lapsi.analysis.subsets import select_subset

THIRDS = ("low", "mid", "high")
AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Schedule:
    """Gradient descent with Nesterov momentum 0.9.

    Attributes:
        epochs, learning_rate, weight_decay: as they say.
        batch: samples of a step; None: all.
        step, factor: the learning rate is multiplied by `factor` every `step` epochs; 0: it stays.
        looks: how often accuracies are taken.
    """

    epochs: int
    learning_rate: float
    weight_decay: float
    batch: int | None = None
    step: int = 0
    factor: float = 1.0
    looks: int = 25


def thirds(scores: lapsi.Scores) -> dict[str, np.ndarray]:
    """Positions of the third of each class with the least LSI, of that in the middle, and of that with most."""
    return {name: select_subset(scores, name, 1 / 3) for name in THIRDS}


def curve(
    network: nn.Module, train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], schedule: Schedule
) -> dict[str, list[float]]:
    """Train and test accuracy of a network along its training."""
    inputs, labels = train
    optimizer = torch.optim.SGD(
        network.parameters(), schedule.learning_rate, 0.9, nesterov=True, weight_decay=schedule.weight_decay
    )
    kept: dict[str, list[float]] = {"epoch": [], "train": [], "test": []}
    looks = set(np.unique(np.linspace(0, schedule.epochs, schedule.looks).round().astype(int)).tolist())
    generator = torch.Generator().manual_seed(0)
    for epoch in range(schedule.epochs + 1):
        if epoch in looks:
            kept["epoch"].append(epoch)
            kept["train"].append(accuracy(network, *train))
            kept["test"].append(accuracy(network, *test))
        if schedule.step and epoch and epoch % schedule.step == 0:
            for group in optimizer.param_groups:
                group["lr"] *= schedule.factor
        if epoch == schedule.epochs:
            break
        order = torch.arange(len(labels)) if schedule.batch is None else torch.randperm(len(labels), generator=generator)
        for rows in order.split(schedule.batch or len(labels)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(inputs[rows]), labels[rows]).backward()
            optimizer.step()
    return kept


@torch.no_grad()
def accuracy(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """Share of samples whose largest output is that of their label."""
    network.eval()
    right = sum(
        int((network(x).argmax(1) == y).sum()) for x, y in zip(inputs.split(AT_ONCE), labels.split(AT_ONCE), strict=True)
    )
    network.train()
    return right / len(labels)


def mean_curves(curves: Sequence[Mapping[str, list[float]]]) -> dict[str, Any]:
    """The mean of several trainings."""
    return {name: np.mean([each[name] for each in curves], axis=0) for name in curves[0]}


def end_of(parts: Mapping[str, Mapping[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Train and test accuracy at the end, by third."""
    return {third: {name: kept[name][-1] for name in ("train", "test")} for third, kept in parts.items()}
