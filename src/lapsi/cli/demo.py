"""The demo: handwritten digits with planted label errors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lapsi.cli.data import DATA, open_data
from lapsi.execution.files import PICTURE, require_file_free, write_directory, write_file
from lapsi.execution.progress import Stages
from lapsi.report.overview import save_overview
from lapsi.report.page import write_report
from lapsi.results.scores import Scores
from lapsi.scoring import score_dataset
from lapsi.settings.settings import Settings

SIDE = 8  # pixels


@dataclass(frozen=True, slots=True, eq=False)
class Demo:
    """A scored data set whose label errors are known.

    Attributes:
        scores: of all samples.
        page: the report.
    """

    scores: Scores
    page: Path

    @property
    def planted(self) -> np.ndarray:
        """(n,) booleans, which labels were flipped."""
        table = self.scores.table
        return table["corrupted"].to_numpy() if "corrupted" in table else np.zeros(len(table), dtype=bool)

    def found(self, fraction: float) -> dict[str, int]:
        """How many planted errors stand in the first `fraction` of the ranking by LSI, and by label quality."""
        n_top = round(fraction * len(self.scores))
        orders = {"lsi": -self.scores.lsi, "label_quality": self.scores.table["label_quality"].to_numpy()}
        return {name: int(self.planted[np.argsort(order, kind="stable")[:n_top]].sum()) for name, order in orders.items()}


def run_demo(output: Path, flip: float, seed: int, force: bool, stages: Stages) -> Demo:
    """Scores scikit-learn's digits with a share `flip` of the labels changed; writes the run, a picture and a report."""
    page = output.with_name(f"{output.name}.html")
    require_file_free(page, force)
    opened = open_data(DATA | {"source": "digits", "flip_labels": flip, "corruption_seed": seed}, "digits", stages)
    dataset = opened.dataset
    scores, _ = score_dataset(dataset, Settings(seed=seed), np.arange(dataset.n_samples), stages)
    scores = replace(scores, provenance=replace(scores.provenance, **opened.record))

    demo = Demo(scores, page)

    def write(directory: Path) -> None:
        scores.write_into(directory)
        images = dataset.features.reshape(-1, SIDE, SIDE)
        save_overview(scores, directory / PICTURE, images, demo.planted)

    write_directory(output, write, force)
    write_file(page, lambda path: write_report(scores, path, features=dataset.features), force)
    return demo
