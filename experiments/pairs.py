"""Figure 4 and Appendix M: image–caption pairs. The paper shows those of lowest and highest LSI; here captions that changed
places tell whether high LSI finds what does not belong together, and what it says beside the leave-one-out loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import lapsi
from experiments.base import FULL, TINY, Experiment, Numbers, Setup, main, number
from experiments.drawing import distributions, panels
from experiments.summaries import auroc, described, median_ratio, rank_correlation
from experiments.verdicts import PAPER, Check, Verdict
from lapsi.data.pairs import Pairs, make_pairs, shuffle_pairs
from lapsi.data.readers.pairs import open_pairs
from lapsi.errors import InputError
from lapsi.execution.progress import Stages
from lapsi.plots.style import HIGH, LOW
from lapsi.settings.pair_source import PairSource
from lapsi.settings.pairs import PAIR_RECIPE

SHARE = 0.1
PAIRS, TABLE = "flickr8k_pairs_1000.npz", "coco_pairs.csv"
SAYS = "one seed; both projections together; GGN through all similarities, where the published code takes the first eight pairs"


def pairs_of(setup: Setup) -> tuple[Pairs, str]:
    """Pictures and captions of COCO by two extractors; at small scale embeddings that lie there, or made views of one thing.

    Raises:
        InputError: at full scale, when the table of pictures and captions is missing.
    """
    folder = setup.data
    if setup.scale == FULL:
        if folder is None or not (folder / TABLE).is_file():
            raise InputError(
                f"{TABLE} is missing in the folder of the data: columns image and caption, the first 1,000 pictures of COCO "
                "train2017 with a banana or an elephant, each with its first caption."
            )
        asked = PairSource(image_model="google/vit-base-patch16-224", text_model="bert-base-uncased")
        return open_pairs(folder / TABLE, asked, Stages(False)), "COCO, bananas and elephants"
    if folder is not None and setup.scale != TINY and (folder / PAIRS).is_file():
        return open_pairs(folder / PAIRS, PairSource(), Stages(False)), "Flickr8k, 1,000 SqueezeNet and MiniLM embeddings"
    rng, n = np.random.default_rng(0), setup.sized(200, 200, 40)
    hidden = rng.normal(size=(n, 6))
    views = [hidden @ rng.normal(size=(6, width)) + 0.3 * rng.normal(size=(n, width)) for width in (24, 16)]
    return make_pairs(*views), f"{n} pairs of noisy views of the same six numbers"


def measure(setup: Setup) -> Numbers:
    """A tenth of the captions changes places; as many of the others are scored."""
    pairs, what = pairs_of(setup)
    changed = shuffle_pairs(pairs, SHARE, 0)
    corrupted = changed.columns["corrupted"].to_numpy()
    limit = setup.sized(len(pairs), 30, 10)
    rows = np.concatenate([np.flatnonzero(corrupted)[:limit], np.flatnonzero(~corrupted)[: 2 * limit]])
    recipe = replace(PAIR_RECIPE, epochs=setup.sized(1000, 300, 20))
    setup.tell(f"{len(rows)} of {len(pairs):,} pairs, {recipe.epochs} epochs")
    scores = lapsi.score_pairs(
        np.asarray(changed.first),
        np.asarray(changed.second),
        dimensions=setup.sized(256, 128, 4),
        recipe=recipe,
        indices=rows,
        checkpoint=setup.work / "pairs",
        execution=lapsi.Execution(verify=0),
        progress=False,
    )
    touched, loss = corrupted[rows], scores.table["loo_loss"].to_numpy()
    return {
        "data": f"{what}; {len(rows)} scored, {recipe.epochs} epochs",
        "right pairs": described(scores.lsi[~touched]),
        "shuffled pairs": described(scores.lsi[touched]),
        "auroc": {"LSI": auroc(touched, scores.lsi), "leave-one-out loss": auroc(touched, loss)},
        "spearman": rank_correlation(scores.table["lsi_image"].to_numpy(), scores.table["lsi_text"].to_numpy()),
        PAPER: SAYS,
    }


def judge(numbers: Numbers) -> tuple[Verdict, ...]:
    """Atypical: an area under the ROC curve of 0.6 and a higher median; the sides agree: a rank correlation of 0.5."""
    found: dict[str, Any] = numbers["auroc"]
    return (
        Verdict(
            "pairs of high LSI are atypical: captions that do not belong to their picture are among them",
            "Figure 4, Appendix M (galleries, no figure)",
            (
                Check("AUROC of shuffled captions", number(found["LSI"]), "≥", 0.6),
                Check("median over right pairs", median_ratio(numbers["shuffled pairs"], numbers["right pairs"]), ">", 1.0),
            ),
        ),
        Verdict(
            "LSI of images and of texts order the pairs alike",
            "Section 4: two divergences, kept apart",
            (Check("Spearman of both sides", number(numbers["spearman"]), "≥", 0.5),),
        ),
    )


def draw(numbers: Numbers) -> Figure:
    """Both kinds of pairs."""
    figure, (axes,) = panels(height=2.5)
    parts = {name: numbers[name] for name in ("right pairs", "shuffled pairs")}
    found = numbers["auroc"]
    title = f"AUROC: LSI {number(found['LSI']):.2f}, leave-one-out loss {number(found['leave-one-out loss']):.2f}"
    distributions(axes, parts, (LOW, HIGH), title)
    return figure


EXPERIMENT = Experiment(
    "pairs", "Figure 4", "Are image–caption pairs of high LSI those that do not belong together?", 9, measure, judge, draw
)

if __name__ == "__main__":
    main(EXPERIMENT)
