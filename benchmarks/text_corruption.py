"""LSI of flipped labels against lorem ipsum in a table of texts (paper, Figure 6); prints one JSON line.

    python benchmarks/text_corruption.py REVIEWS.parquet MODEL [--share 0.1] [--weight-decay 0.01]

MODEL is a frozen text encoder: a folder, or a name on the hub. Each corruption is scored in a run of its own.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from lapsi.data.corruption import corrupt_dataset, corrupt_samples
from lapsi.data.extractors.embedding import embed_content
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.raw_tables import read_raw
from lapsi.execution.progress import Stages
from lapsi.results.scores import Scores
from lapsi.scoring import score_dataset
from lapsi.settings.corruption import Corruption
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.settings import make_settings


def corrupted_scores(path: Path, model: str, corruption: Corruption, weight_decay: float) -> Scores:
    """Scores of the texts after one corruption."""
    samples = corrupt_samples(read_raw(path, Columns()), corruption)
    embedded = embed_content(samples.content, ExtractorSettings(model=model), None, Stages(True))
    dataset = corrupt_dataset(samples.with_features(embedded.features, embedded.kept), corruption)
    return score_dataset(
        dataset, make_settings(weight_decay=weight_decay, standardize="each"), np.arange(dataset.n_samples), Stages(False)
    )[0]


def spread(lsi: np.ndarray) -> dict[str, Any]:
    """Quartiles of LSI in nats, and how many times the upper is the lower."""
    low, median, high = np.quantile(lsi, [0.25, 0.5, 0.75])
    return {"n": len(lsi), "q25": float(low), "median": float(median), "q75": float(high), "q75_over_q25": float(high / low)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reviews", type=Path)
    parser.add_argument("model")
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    arguments = parser.parse_args()
    record: dict[str, Any] = {"data": arguments.reviews.name, "model": Path(arguments.model).name, "share": arguments.share}
    for name in ("flip_labels", "lorem_ipsum"):
        scores = corrupted_scores(
            arguments.reviews, arguments.model, Corruption(**{name: arguments.share}), arguments.weight_decay
        )
        touched = scores.table["corrupted"].to_numpy()
        quality = -scores.table["label_quality"].to_numpy()
        record[name] = {
            "clean": spread(scores.lsi[~touched]),
            "corrupted": spread(scores.lsi[touched]),
            "auroc_lsi": round(float(roc_auc_score(touched, scores.lsi)), 4),
            "auroc_label_quality": round(float(roc_auc_score(touched, quality)), 4),
        }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
