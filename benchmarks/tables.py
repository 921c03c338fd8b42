"""A table as people have it, scored with its labels named and nothing else: what each column became, and seconds.

    python benchmarks/tables.py [--rows N] [--wrong SHARE]

The table is made up, as a census of adults and a list of passengers would have it: numbers, categories, dates, gaps, an id, a
household, names, free text, and a constant column; who earns more follows from some of them. A share of the labels is wrong,
and how well label quality finds these is told. One JSON line at the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

import lapsi
from lapsi.cli.main import main as command
from lapsi.data.tables.column import in_words

JOBS = {"manager": 1.2, "engineer": 1.0, "teacher": 0.3, "clerk": -0.2, "driver": -0.5, "cleaner": -1.2}
SCHOOLS = {"doctorate": 1.2, "bachelor": 0.6, "college": 0.1, "school": -0.5}
PHRASES = ("works nights", "leads a team", "looks for a change", "likes the outdoors", "studied abroad", "lives in the city")
FIRST, LAST = ("Owen", "Laura", "Anna", "William", "Eva"), ("Braund", "Heikkinen", "Allen", "Moran", "Palsson")
LABEL = "income"


def make_table(n: int, share_wrong: float, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """N rows, and which of the labels are wrong."""
    rng = np.random.default_rng(seed)
    job, school = rng.choice(list(JOBS), n), rng.choice(list(SCHOOLS), n)
    age, hours = rng.integers(18, 70, n), rng.normal(40, 8, n).round(1)
    phrases = rng.choice(PHRASES, (n, 2))
    leads = (phrases == PHRASES[1]).any(1)
    score = np.array([JOBS[each] for each in job]) + np.array([SCHOOLS[each] for each in school]) + leads
    score = score + (age - 44) / 25 + (hours - 40) / 12 - 0.8
    rich = score + 0.3 * rng.logistic(size=n) > 0
    wrong = np.zeros(n, bool)
    wrong[rng.choice(n, round(share_wrong * n), replace=False)] = True
    titles = np.where(rng.random(n) < 0.5, "Mr.", "Mrs.")
    table = pd.DataFrame(
        {
            "PassengerId": np.arange(1, n + 1) * 7,
            "Name": [f"{rng.choice(LAST)}, {title} {rng.choice(FIRST)} {row}" for row, title in enumerate(titles)],
            "household": rng.integers(0, max(2, n // 3), n),
            "age": np.where(rng.random(n) < 0.08, np.nan, age),
            "hours-per-week": hours,
            "occupation": np.where(rng.random(n) < 0.05, "?", job),
            "education": school,
            "married": rng.random(n) < 0.5,
            "hired": (pd.Timestamp("2001-01-01") + pd.to_timedelta(rng.integers(0, 8000, n), unit="D")).strftime("%Y-%m-%d"),
            "remarks": [f"{first} and {second}, entry {row}" for row, (first, second) in enumerate(phrases)],
            "native-country": "United-States",
            LABEL: np.where(rich ^ wrong, ">50K", "<=50K"),
        }
    )
    return table, wrong


def run_command(*arguments: str) -> int:
    """The exit code of `lapsi`."""
    with mock.patch.object(sys, "argv", ["lapsi", *arguments]):
        try:
            command()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def score(table: pd.DataFrame, wrong: np.ndarray) -> dict[str, Any]:
    """What scoring a table from a CSV file took and found."""
    with tempfile.TemporaryDirectory() as folder:
        path, run = Path(folder) / "people.csv", Path(folder) / "run"
        table.to_csv(path, index=False)
        start = time.perf_counter()
        code = run_command("score", str(path), "--labels", LABEL, "-o", str(run), "--quiet")
        seconds = time.perf_counter() - start
        if code != 0:
            raise SystemExit(code)
        scores = lapsi.load_run(str(run))
    provenance = scores.provenance
    print("\n".join(in_words(provenance.table)))
    loo_accuracy = float((scores.table["loo_label"] == scores.table["label"]).mean())
    return {
        "rows": len(scores),
        "columns": {column["name"]: column["became"] for column in provenance.table["columns"]},
        "n_features": provenance.n_features,
        "seconds_whole": seconds,
        "seconds_scoring": sum(provenance.seconds.values()),
        "loo_accuracy": loo_accuracy,
        "auroc_of_wrong": float(roc_auc_score(wrong, -scores.table["label_quality"])) if wrong.any() else None,
        "auroc_of_lsi": float(roc_auc_score(wrong, scores.lsi)) if wrong.any() else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--wrong", type=float, default=0.05, help="share of labels that are wrong")
    options = parser.parse_args()
    print(json.dumps(score(*make_table(options.rows, options.wrong))))


if __name__ == "__main__":
    main()
