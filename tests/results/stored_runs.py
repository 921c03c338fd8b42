"""Runs on disk, as this version writes them and as lapsi 0.1 did."""

import json
from dataclasses import asdict

import numpy as np

from runs_for_reports import make_scores

CALL = {  # options of the command line as lapsi 0.1 kept them
    "source": "reviews.csv",
    "features": None,
    "feature_prefix": "f",
    "labels": "stars",
    "ids": None,
    "group": "author",
    "split_column": "part",
    "reference_labels": None,
    "class_names": None,
    "keep": "age, place",
    "split": None,
    "data_dir": None,
    "images": None,
    "texts": "review",
    "model": "encoder",
    "normalize": None,
    "max_tokens": 99,
    "cache": "kept",
    "pooling": "mean",
    "embed_batch_size": 8,
    "embed_dtype": "float16",
    "device": "cpu",
    "skip_bad": True,
    "flip_labels": 0.25,
    "human_labels": None,
    "lorem_ipsum": 0.0,
    "noise": 0.5,
    "noise_classes": "a,b",
    "corruption_seed": 7,
}


def stored_scores(n=24):
    """Scores with a column of the source; ids and classes are strings."""
    return make_scores(
        n, ids=[f"s{row}" for row in range(n)], classes=["a", "b", "c"], columns={"group": ["x", "y"] * (n // 2)}
    )


def write_format_0(scores, directory, call=None):
    """A run directory as lapsi 0.1 wrote it."""
    directory.mkdir()
    scores.table.to_parquet(directory / "scores.parquet", index=False)
    np.save(directory / "loo_proba.npy", scores.loo_proba)
    if scores.map is not None:
        np.save(directory / "map.npy", scores.map)
    if scores.trajectory is not None:
        scores.trajectory.to_parquet(directory / "trajectory.parquet", index=False)
    later = ("plan", "n_source", "data", "measures", "regularization")
    record = {name: value for name, value in asdict(scores.provenance).items() if name not in later}
    helps = {name: "column of the source" if name == "age" else "as it was" for name in scores.table}
    record["settings"] = _flat(record["settings"])
    record |= {"call": call or {}, "classes": scores.classes.tolist(), "columns": helps}
    (directory / "run.json").write_text(json.dumps(record, indent=2))
    return directory


def _flat(settings):
    """Settings as lapsi 0.1 wrote them."""
    engine = {"engine": settings["engine"]["name"], "recipe": None, "every": None, "refine": "auto"}
    engine |= {name: value for name, value in settings["engine"].items() if name != "name"}
    parts = {name: value for part in ("model", "objective", "execution") for name, value in settings[part].items()}
    parts["standardize"] = parts["standardize"] == "each"
    return {"curvature": settings["curvature"], **parts, **engine}
