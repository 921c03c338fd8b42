"""The demo: handwritten digits with planted label errors."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console

from lapsi.cli.data import open_and_tell
from lapsi.cli.show import print_run, run_as_dict, to_json
from lapsi.cli.terminal import say, told
from lapsi.data.spec import DataSpec
from lapsi.execution.files import require_file_free, write_file
from lapsi.execution.progress import Stages
from lapsi.report.overview import save_overview
from lapsi.report.page import write_report
from lapsi.results.run_directory import PICTURE, require_free
from lapsi.results.scores import Scores
from lapsi.scoring import score_dataset
from lapsi.settings.corruption import Corruption
from lapsi.settings.settings import make_settings

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
    opened = open_and_tell(DataSpec("digits", corruption=Corruption(flip_labels=flip, seed=seed)), "digits", stages)
    dataset = opened.dataset
    pixels = np.asarray(dataset.features)
    scores, _ = score_dataset(dataset, make_settings(seed=seed), np.arange(dataset.n_samples), stages)
    scores = replace(scores, provenance=replace(scores.provenance, **opened.record))

    demo = Demo(scores, page)

    def beside(directory: Path) -> None:
        images = pixels.reshape(-1, SIDE, SIDE)
        save_overview(scores, directory / PICTURE, images, demo.planted)

    scores.save(output, force=force, beside=beside)
    write_file(page, lambda path: write_report(scores, path, features=pixels), force)
    return demo


def demo(output: Path, flip: float, seed: int, force: bool, quiet: bool, as_json: bool) -> None:
    """Runs the demo and shows what it found."""
    require_free(output, force)
    result = run_demo(output, flip, seed, force, Stages(not quiet and not as_json))
    with told(output):
        _tell(result, output, quiet, as_json)


def _tell(result: Demo, output: Path, quiet: bool, as_json: bool) -> None:
    planted, found = int(result.planted.sum()), result.found(0.1)
    if as_json:
        record = {**run_as_dict(result.scores, 10), "run": str(output), "planted": planted, "planted_in_top_10_percent": found}
        print(json.dumps(record, indent=2, default=to_json))
    elif not quiet:
        console = Console()
        print_run(result.scores, 10, console)
        console.print(
            f"[bold]{found['lsi']} of the {planted} planted label errors[/] stand in the top 10 % by LSI "
            f"({round(0.1 * len(result.scores))} samples), {found['label_quality']} among as many labels of the lowest quality."
        )
        say(f"Run directory: {output}   picture: {output / PICTURE}   report: {result.page}")
