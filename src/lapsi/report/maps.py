"""Another map of the features than the first two principal components."""

from __future__ import annotations

import numpy as np

from lapsi.errors import InputError


def umap_map(inputs: np.ndarray, seed: int = 0) -> np.ndarray:
    """(n, 2) float32: inputs (n, d) of the model, laid out by UMAP, which keeps neighbours together.

    Distances mean little.

    Raises:
        InputError: when umap-learn is not installed, or there are too few samples.
    """
    try:
        import umap
    except ImportError as error:
        raise InputError(
            "A UMAP needs the package umap-learn: pip install 'lapsi[umap]'; or use the PCA of the run."
        ) from error
    if len(inputs) < 4:
        raise InputError(f"A UMAP of {len(inputs)} samples means nothing; expected at least 4.")
    layout = umap.UMAP(n_components=2, n_neighbors=min(15, len(inputs) - 1), random_state=seed, n_jobs=1)
    return np.asarray(layout.fit_transform(inputs), dtype=np.float32)
