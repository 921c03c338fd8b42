"""Runs whose targets are numbers, or several labels a sample, some of them known to be wrong."""

import numpy as np
import pandas as pd
from sklearn.datasets import load_diabetes, load_digits

import lapsi


def numbers(n_outputs):
    """Diabetes, the target of each 40th patient off by 400; with two outputs the body mass index as well, with some noise."""
    X, y = load_diabetes(return_X_y=True)
    given = y + 400.0 * (np.arange(len(y)) % 40 == 0)
    columns = {"original_label": y, "ward": np.where(np.arange(len(y)) % 3, "north", "south")}
    if n_outputs == 1:
        return lapsi.score(X, given, columns=columns, verify=0, progress=False)
    second = 100 * X[:, 2] + np.random.default_rng(0).normal(size=len(y))
    targets = pd.DataFrame({"progression": given, "mass": second})
    return lapsi.score(X, targets, columns={"ward": columns["ward"]}, verify=0, progress=False)


def digits_as_bits():
    """400 digits with the four bits of their value as labels; of each 25th one bit is wrong."""
    X, y = load_digits(return_X_y=True)
    truth = pd.DataFrame({f"bit {k}": (y[:400] >> k) & 1 for k in range(4)})
    given = truth.copy()
    given.iloc[::25, 2] ^= 1
    names = truth.columns.to_numpy()
    right = ["|".join(names[row > 0]) for row in truth.to_numpy()]
    return lapsi.score(X[:400], given, columns={"original_label": right}, verify=0, progress=False)
