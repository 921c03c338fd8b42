"""Label errors found with the weight decay that the leave-one-out loss chooses, beside 0.01 and cleanlab; prints one JSON line.

    python benchmarks/regularization.py digits|wine|breast_cancer [--flip 0.1]
    python benchmarks/regularization.py REVIEWS.parquet --model ENCODER [--rows 600] [--flip 0.1]
    python benchmarks/regularization.py FEATURES.npz --labels NAME --truth NAME

A share of the labels is flipped at random; or `--labels` names labels that people gave and `--truth` the true ones. cleanlab
gets 5-fold cross-validated probabilities of scikit-learn's LogisticRegressionCV, on standardized features or, with --unscaled,
on those as they are. All in one process, reading and embedding excluded from the seconds.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from cleanlab.rank import get_label_quality_scores
from sklearn import datasets
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lapsi.data.corruption import corrupt_dataset
from lapsi.data.dataset import Dataset, make_dataset
from lapsi.data.extractors.embedding import embed_content
from lapsi.data.readers.arrays import read_dataset
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.raw_tables import read_raw
from lapsi.execution.progress import Stages
from lapsi.results.regularization import chosen_of
from lapsi.scoring import score_dataset
from lapsi.settings.corruption import Corruption
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.settings import Settings, make_settings
from lapsi.training.regularization import STAGE

TABLES = ("digits", "wine", "breast_cancer")
FOLDS = 5


def read(arguments: argparse.Namespace) -> Dataset:
    """The data with labels as they are to be doubted, and the true ones beside them."""
    if arguments.data in TABLES:
        X, y = getattr(datasets, f"load_{arguments.data}")(return_X_y=True)
        dataset = make_dataset(X, y, source=arguments.data)
    elif arguments.model is not None:
        samples = read_raw(Path(arguments.data), Columns())
        embedded = embed_content(samples.content, ExtractorSettings(model=arguments.model), None, Stages(False))
        dataset = samples.with_features(embedded.features, embedded.kept)
    else:
        dataset = read_dataset(Path(arguments.data), Columns(labels=arguments.labels, reference_labels=arguments.truth))
    if arguments.rows is not None:
        rows = slice(0, arguments.rows)
        dataset = make_dataset(
            dataset.features.read(rows), dataset.classes[dataset.labels[rows]], columns=dataset.columns[rows]
        )
    return dataset if arguments.labels else corrupt_dataset(dataset, Corruption(flip_labels=arguments.flip))


def found(wrong: np.ndarray, quality: np.ndarray) -> dict[str, Any]:
    """How well a low quality finds the wrong labels."""
    return {
        "auroc": round(float(roc_auc_score(wrong, -quality)), 4),
        "average_precision": round(float(average_precision_score(wrong, -quality)), 4),
    }


def scored(dataset: Dataset, wrong: np.ndarray, settings: Settings) -> dict[str, Any]:
    """The same for the scores of lapsi, and what they cost."""
    scores, _ = score_dataset(dataset, settings, np.arange(dataset.n_samples), Stages(False))
    seconds = dict(scores.provenance.seconds)
    choice = seconds.pop(STAGE, 0.0)
    table, record = scores.to_pandas(), chosen_of(scores.provenance.regularization)
    told = {} if record is None else {"loo_loss_chosen_by": record.chosen.loo_loss, "told": record.sentence()}
    return {
        **found(wrong, table["label_quality"].to_numpy()),
        "weight_decay": scores.provenance.settings["objective"]["weight_decay"],
        "standardize": scores.provenance.settings["model"]["standardize"],
        "loo_loss": round(float(table["loo_loss"].mean()), 4),
        **told,
        "seconds_choice": round(choice, 2),
        "seconds_rest": round(sum(seconds.values()), 2),
    }


def cross_validated(dataset: Dataset, wrong: np.ndarray, strengths: int, *steps: Any) -> dict[str, Any]:
    """cleanlab on the probabilities of a logistic regression whose strength is cross-validated within each fold."""
    start = time.perf_counter()
    model = make_pipeline(*steps, LogisticRegressionCV(Cs=strengths, cv=FOLDS, scoring="neg_log_loss", max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of scikit-learn, of what it will change and what did not converge
        proba = cross_val_predict(model, np.asarray(dataset.features), dataset.labels, cv=FOLDS, method="predict_proba")
    quality = get_label_quality_scores(dataset.labels, proba)
    return {**found(wrong, quality), "seconds": round(time.perf_counter() - start, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help=f"{', '.join(TABLES)}, or a file")
    parser.add_argument("--flip", type=float, default=0.1)
    parser.add_argument("--model", help="text encoder: a folder, or a name on the hub")
    parser.add_argument("--rows", type=int, help="the first ROWS samples only")
    parser.add_argument("--labels")
    parser.add_argument("--truth")
    parser.add_argument("--strengths", type=int, default=10, help="of regularisation that cross-validation tries")
    parser.add_argument("--unscaled", action="store_true", help="cross-validate on unscaled features, too")
    parser.add_argument("--skip-cleanlab", action="store_true")
    arguments = parser.parse_args()

    dataset = read(arguments)
    columns = dataset.columns
    truth = columns["reference_label"] if arguments.labels else columns["original_label"]
    wrong = dataset.classes[dataset.labels] != truth.to_numpy()
    chosen = make_settings(verify=0, seed=0)
    fixed = make_settings(verify=0, seed=0, weight_decay=0.01, standardize="each")
    record = {
        "data": Path(arguments.data).name,
        "n": dataset.n_samples,
        "features": dataset.n_features,
        "classes": dataset.n_classes,
        "n_errors": int(wrong.sum()),
        "auto": scored(dataset, wrong, chosen),
        "fixed": scored(dataset, wrong, fixed),
    }
    if not arguments.skip_cleanlab:
        record["cleanlab_standardized"] = cross_validated(dataset, wrong, arguments.strengths, StandardScaler())
        if arguments.unscaled:
            record["cleanlab_unscaled"] = cross_validated(dataset, wrong, arguments.strengths)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
