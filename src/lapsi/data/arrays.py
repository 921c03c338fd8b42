"""What users hold their numbers and names in, as numpy arrays that lose no digit and no letter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lapsi.errors import InputError

EXACT = 2**53  # beyond it, floating-point numbers skip integers


def to_numpy(values: Any) -> np.ndarray:
    """numpy array of numpy, pandas, torch (any device) or nested-list input."""
    if hasattr(values, "detach"):
        tensor = values.detach().cpu()
        values = (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    if isinstance(values, pd.DataFrame | pd.Series | pd.Index):
        values = values.to_numpy()
    array = np.array(values, dtype=object) if isinstance(values, list | tuple) and _changes(values) else np.asarray(values)
    return _unboxed(array) if array.dtype.kind == "O" and array.ndim == 1 else array


def _changes(values: Sequence[Any]) -> bool:
    """Whether numpy would write numbers and gaps as text, drop NULs at the end of a text, or digits of a large integer."""
    kinds = set(map(type, values))
    if str in kinds:
        return len(kinds) > 1 or any("\0" in value for value in values)
    return any(isinstance(value, int) and abs(value) > EXACT for value in values)


def _unboxed(objects: np.ndarray) -> np.ndarray:
    """Objects (n,) that are all booleans, or all integers of at most 64 bits, as numpy holds such; others as they are."""
    kind = pd.api.types.infer_dtype(objects, skipna=False)
    if kind == "boolean":
        return objects.astype(bool)
    if kind == "integer":
        low, high = int(min(objects)), int(max(objects))
        for dtype in (np.int64, np.uint64):
            if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
                return objects.astype(dtype)
    return objects


def decoded(values: np.ndarray, name: str) -> np.ndarray:
    """Text (n,) where numpy holds its bytes, and anything else as it is.

    Raises:
        InputError: when they are no UTF-8.
    """
    if values.dtype.kind != "S":
        return values
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"The {name} are bytes that are no text in UTF-8 ({error}); decode them first.") from error


def are_uneven(values: Any) -> bool:
    """Whether values are a list with lists in it, not all of one length, of which numpy makes no array."""
    if not isinstance(values, list | tuple):
        return False
    lengths = {len(each) if isinstance(each, list | tuple | set | np.ndarray) else None for each in values}
    return len(lengths) > 1


def require_even(features: Any) -> None:
    """Refuses lists of numbers, one a sample, that are not all of one length.

    Raises:
        InputError: where they are not.
    """
    if are_uneven(features):
        raise InputError("The rows of the features differ in length; expected as many numbers for each sample.")


def one_dimensional(values: Any, name: str, n_samples: int) -> np.ndarray:
    """One value a sample (N,), in the byte order of this machine.

    Raises:
        InputError: for another number of values or axes.
    """
    if are_uneven(values):
        raise InputError(f"The {name} are lists of different lengths; expected one value for each of {n_samples} samples.")
    array = to_numpy(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = to_numpy(array[:, 0])
    if array.ndim != 1:
        raise InputError(f"The {name} have shape {array.shape}; expected one axis of {n_samples} values.")
    if len(array) != n_samples:
        raise InputError(f"There are {n_samples} samples but {len(array)} {name}; expected one for each sample.")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def feature_matrix(features: Any) -> np.ndarray:
    """Numbers (N, d), of the type that they have: what is small stays small.

    Raises:
        InputError: for anything else, or fewer than 2 samples.
    """
    if hasattr(features, "toarray"):
        raise InputError("Sparse features were passed, but dense ones are required: pass features.toarray().")
    require_even(features)
    try:
        matrix = to_numpy(features)
        if matrix.dtype.kind in "OUS":
            matrix = matrix.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"The features are not all numbers ({error}); expected an array (n_samples, n_features).") from error
    if matrix.dtype.kind == "c":
        raise InputError("Complex data not supported: the features have a complex dtype; expected real numbers.")
    if matrix.ndim != 2:
        raise InputError(
            f"The features have shape {matrix.shape}; expected 2 axes (n_samples, n_features). "
            "Reshape your data, e.g. features.reshape(len(features), -1)."
        )
    if matrix.dtype.kind not in "fiub" or matrix.dtype.itemsize > 8:
        raise InputError(f"The features have dtype {matrix.dtype}; expected real numbers of at most 64 bits.")
    n_samples, n_features = matrix.shape
    if n_samples == 0:
        raise InputError("The data set is empty: 0 samples; expected at least 2.")
    if n_features == 0:
        raise InputError(f"0 feature(s) (shape={matrix.shape}) while a minimum of 1 is required.")
    return matrix
