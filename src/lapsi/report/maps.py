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


def class_map(inputs: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(n, 2) float32: inputs (n, d) of the model, seen from where their classes are farthest apart.

    Fisher's first two discriminants, with the covariance within classes shrunk (Ledoit and Wolf 2004), so that classes are not
    told apart by chance. Two classes have one discriminant; there the second axis is the first principal component across it.

    Args:
        inputs: of the samples.
        codes: (n,) of their classes.

    Raises:
        InputError: when there is one class, or no class has two samples.
    """
    from sklearn.decomposition import PCA
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    classes, sizes = np.unique(codes, return_counts=True)
    if len(classes) < 2 or sizes.max() < 2:
        raise InputError(
            f"A map of the classes needs two of them and samples that share one; there are {len(codes):,} samples of "
            f"{len(classes):,}. Take the PCA of the run."
        )
    seen = LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", n_components=min(2, len(classes) - 1))
    layout = seen.fit(inputs, codes).transform(inputs)
    if layout.shape[1] == 1:
        across = np.linalg.qr(seen.scalings_[:, :1])[0]
        layout = np.column_stack([layout, PCA(1).fit_transform(inputs - inputs @ across @ across.T)])
    return np.asarray(layout, dtype=np.float32)
