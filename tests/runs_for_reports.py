"""Runs to report on: scores made up in a moment, so that no test waits for a fit."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from lapsi.analysis.checks.base import CHECK, is_about
from lapsi.analysis.checks.told import Finding
from lapsi.data.targets import ClassTargets
from lapsi.results.columns import COLUMNS, Column
from lapsi.results.evidence.base import Seen
from lapsi.results.evidence.classes import ClassEvidence
from lapsi.results.provenance import Provenance
from lapsi.results.scores import Scores
from lapsi.results.tables import build_table
from lapsi.settings.settings import make_settings

CHECKED = {"check_duplicate": "duplicates", "check_outlier": "outliers", "check_rare_class": "rare class"}
HOSTILE = "<script>window.broken = 1</script>"


def make_scores(
    n=60, n_classes=3, seed=0, classes=None, ids=None, columns=None, with_map=True, source="made up", n_samples=None
):
    """Scores of n samples whose labels are doubted for about a fifth."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(n_classes, size=n)
    logits = rng.normal(size=(n, n_classes)) + 2.5 * np.eye(n_classes)[labels]
    log_proba = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    lsi = np.exp(rng.normal(size=n) - 3 * log_proba[np.arange(n), labels].clip(-3)) * 1e-3
    train_loss = -np.log(rng.random(n))[None]
    measures = {
        "id": np.arange(n) if ids is None else ids,
        "row": np.arange(n),
        "lsi": lsi * 0.9 + lsi * 0.1,
        "lsi_mean": lsi * 0.9,
        "lsi_curvature": lsi * 0.1,
        "leverage": rng.random(n),
        "shift_norm": rng.random(n),
    }
    classes = np.arange(n_classes) if classes is None else np.asarray(classes)
    seen = Seen(ClassTargets(labels, classes), log_proba, train_loss, None, ())
    table = build_table(measures | ClassEvidence().compute(seen), COLUMNS)
    for name, values in (columns or {}).items():
        table[name] = values
    provenance = Provenance(
        version="0.1.0",
        created="2026-11-24T06:08:02+00:00",
        settings={**make_settings("newton", weight_decay=0.01, standardize="each").to_dict(), "recipe": {"epochs": 3}},
        engine="newton",
        dtype="float32",
        device="cpu",
        source=source,
        data_hash=f"{seed:032x}",
        n_samples=n_samples or n,
        n_features=4,
        n_classes=n_classes,
        train_accuracy=0.9,
        grad_norm=1e-12,
        n_iterations=7,
        seconds={"fit": 0.2},
        verification={
            "rows": [1, 2],
            "max_relative_error": 1e-6,
            "median_relative_error": 1e-7,
            "reference": "exact",
            "max_relative_error_exact": None,
        },
    )
    on_map = rng.normal(size=(n, 2)).astype(np.float32) if with_map else None
    return Scores(table, np.exp(log_proba).astype(np.float32), classes, provenance, None, on_map)


def hostile_scores():
    """Markup wherever a data set can carry text: ids, class names, texts, paths, columns and their names, the source."""
    n = 40
    return make_scores(
        n,
        classes=[f"a {HOSTILE}", "b </script><script>window.broken = 2</script>", 'c "><img src=x onerror="window.broken=3">'],
        ids=[f"{HOSTILE} {row}" for row in range(n)],
        columns={
            "text": [f"<!-- <script> </script>{HOSTILE} & so on {row}" for row in range(n)],
            "path": [f"/tmp/{HOSTILE}/{row}.png" for row in range(n)],
            "group": [f"{HOSTILE} {row % 3}" for row in range(n)],
            f"{HOSTILE}column": pd.Series([HOSTILE] * n),
            "corrupted": np.arange(n) % 7 == 0,
        },
        source=f"{HOSTILE} data",
    )


def with_checks(scores):
    """The same, checked: every seventh sample is there twice, every fifth an outlier, no class is rare."""
    rows = np.arange(len(scores))
    values = {
        "check_duplicate": pd.array(["exact" if row % 7 == 0 else None for row in rows], dtype="string"),
        "check_outlier": rows % 5 == 0,
        "check_rare_class": np.zeros(len(rows), bool),
    }
    columns = [Column(name, title, "made up", CHECK) for name, title in CHECKED.items()]
    findings = []
    for name, title in CHECKED.items():
        n = int(is_about(pd.Series(values[name])).sum())
        findings.append(asdict(Finding(title, "Is it?", n, f"{n} samples" if n else "", [], [name])))
    record = {"findings": findings, "left_out": {"gaps": "the data are no table"}}
    return scores.with_measure(pd.DataFrame({"id": scores.table["id"], **values}), columns, origin={CHECK: record})
