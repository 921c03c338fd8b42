"""The demo: handwritten digits with planted label errors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits

from lapsi.dataset import make_dataset
from lapsi.progress import Stages
from lapsi.report.overview import save_overview
from lapsi.runs import write_directory
from lapsi.scores import Scores
from lapsi.scoring import score_dataset
from lapsi.settings import Settings

PICTURE = "overview.png"


@dataclass(frozen=True, slots=True, eq=False)
class Demo:
    """A scored data set whose label errors are known.

    Attributes:
        scores: of all samples.
        planted: (n,) booleans, which labels were flipped.
    """

    scores: Scores
    planted: np.ndarray

    def found(self, fraction: float) -> int:
        """How many planted errors stand in the top `fraction` of the ranking by LSI."""
        top = np.argsort(-self.scores.lsi, kind="stable")[: round(fraction * len(self.scores))]
        return int(self.planted[top].sum())


def run_demo(output: Path, flip: float, seed: int, force: bool, stages: Stages) -> Demo:
    """Scores scikit-learn's digits with a share `flip` of the labels changed, and writes run and picture to `output`."""
    digits = load_digits()
    planted, labels = flip_labels(digits.target, flip, seed)
    dataset = make_dataset(digits.data, labels, source=f"scikit-learn digits, {flip:.0%} of labels flipped (seed {seed})")
    scores, _ = score_dataset(dataset, Settings(seed=seed), np.arange(dataset.n_samples), stages)

    def write(directory: Path) -> None:
        scores.write_into(directory)
        save_overview(scores, directory / PICTURE, digits.images, planted)

    write_directory(output, write, force)
    return Demo(scores, planted)


def flip_labels(labels: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Changes a random share of the labels (n,) to another class, all others equally likely.

    Returns:
        Which were changed (n,) and the new labels (n,).
    """
    generator = np.random.default_rng(seed)
    n_classes = int(labels.max()) + 1
    planted = np.zeros(len(labels), dtype=bool)
    planted[generator.choice(len(labels), round(share * len(labels)), replace=False)] = True
    offset = generator.integers(1, n_classes, len(labels))
    return planted, np.where(planted, (labels + offset) % n_classes, labels)
