"""Changing a data set on purpose, as the paper does, and remembering which samples were touched.

Each kind draws from a generator of its own, so that adding one corruption leaves the draws of another as they were.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from lapsi.data.arrays import decoded
from lapsi.data.blocks import Blocks, widened_type
from lapsi.data.composed import ChangedBlocks
from lapsi.data.dataset import Dataset
from lapsi.data.samples import TEXT, Samples, Texts
from lapsi.errors import InputError
from lapsi.settings.corruption import Corruption

FLIP, LOREM, NOISE, HUMAN = "flipped label", "lorem ipsum", "noise", "human label"
SHORTEST_TEXT = 40


def corrupt_samples(samples: Samples, corruption: Corruption) -> Samples:
    """Replaces texts and their labels, before features are made.

    Raises:
        InputError: when the samples are no texts.
    """
    if corruption.lorem_ipsum == 0:
        return samples
    if samples.content.kind != TEXT:
        raise InputError("lorem_ipsum replaces texts, but the samples are images; leave it out.")
    n = len(samples.labels)
    if pd.isna(samples.labels).any():
        raise InputError("Labels are missing; remove these samples or label them before texts are replaced.")
    generator = _generator(corruption, LOREM)
    texts = samples.columns["text"].to_numpy(dtype=object).copy()
    drawn = _draw(generator, n, corruption.lorem_ipsum)
    touched = drawn[~pd.isna(texts[drawn])]  # a gap stays one
    texts[touched] = lorem_ipsum([len(text) for text in texts[touched]], int(generator.integers(2**31)))
    classes = np.unique(samples.labels)
    labels = samples.labels.copy()
    labels[touched] = generator.choice(classes, len(touched))
    columns = _mark(samples.columns.assign(text=texts), samples.labels, touched, LOREM)
    return replace(samples, content=Texts(texts.tolist()), labels=labels, columns=columns)


def corrupt_dataset(dataset: Dataset, corruption: Corruption) -> Dataset:
    """Changes labels and features.

    Raises:
        InputError: when human labels do not fit, or a class of `noise_classes` does not occur.
    """
    if corruption.lorem_ipsum > 0 and "corruption" not in dataset.columns:
        raise InputError("lorem_ipsum replaces texts, but the source holds features; leave it out.")
    if corruption.human_labels is not None:
        dataset = _relabel(dataset, human_codes(corruption.human_labels, dataset), HUMAN)
    if corruption.flip_labels > 0:
        flipped = flip_labels(dataset.labels, dataset.n_classes, corruption.flip_labels, _generator(corruption, FLIP))
        dataset = _relabel(dataset, flipped, FLIP)
    if corruption.noise > 0:
        touched = _of_classes(dataset, corruption.noise_classes)
        features = add_noise(dataset.features, touched, corruption.noise, _generator(corruption, NOISE))
        columns = _mark(dataset.columns, dataset.classes[dataset.labels], touched, NOISE)
        made_from = dataset.features_hash and f"{dataset.features_hash} {corruption.record()}"
        dataset = replace(dataset.with_features(features, made_from), columns=columns)
    return dataset


def flip_labels(labels: np.ndarray, n_classes: int, share: float, generator: np.random.Generator) -> np.ndarray:
    """Labels (n,) of which a random share is changed to another class, all others equally likely."""
    touched = _draw(generator, len(labels), share)
    flipped = labels.copy()
    flipped[touched] = (labels[touched] + generator.integers(1, n_classes, len(touched))) % n_classes
    return flipped


def add_noise(features: Blocks, touched: np.ndarray, scale: float, generator: np.random.Generator) -> Blocks:
    """Features (N, d) where samples `touched` (k,), ascending, got Gaussian noise of `scale` standard deviations of each."""
    kind = np.float32 if widened_type(features.dtype) == np.float32 else np.float64
    noise, spread = np.empty((len(touched), features.shape[1]), kind), scale * _deviation(features)
    for start in range(0, len(noise), features.block_rows):
        part = noise[start : start + features.block_rows]
        part[:] = spread * generator.standard_normal(part.shape)
    return ChangedBlocks(features, touched, noise)


def _deviation(features: Blocks) -> np.ndarray:
    """(d,) of each feature, as numpy sums it: row by row."""
    n_rows, n_columns = features.shape
    if n_columns == 1:  # numpy sums a single column in another order
        return np.asarray(features).std(0, dtype=np.float64)
    total, squares = np.zeros(n_columns), np.zeros(n_columns)
    for _, block in features.blocks():
        total = np.vstack([total, block]).sum(0)
    mean = total / n_rows
    for _, block in features.blocks():
        squares = np.vstack([squares, np.square(block - mean)]).sum(0)
    return np.asarray(np.sqrt(squares / n_rows))


def lorem_ipsum(lengths: list[int], seed: int) -> list[str]:
    """Paragraphs of about so many characters each.

    Raises:
        InputError: when the extra is not installed.
    """
    try:
        from faker import Faker
    except ImportError as error:
        raise InputError(f"Lorem ipsum needs the extra 'hf' ({error}): pip install 'lapsi[hf]'.") from error
    writer = Faker("la")
    writer.seed_instance(seed)
    return [writer.text(max_nb_chars=max(length, SHORTEST_TEXT)).replace("\n", " ") for length in lengths]


def human_codes(labels: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Positions (N,) in the classes of labels given by value, or by position where they are integers and the classes are not.

    Raises:
        InputError: when there are not N, or one is no class.
    """
    if len(labels) != dataset.n_samples:
        raise InputError(f"There are {len(labels)} human labels but {dataset.n_samples} samples; expected one for each.")
    names, labels = dataset.classes, decoded(labels, "human labels")
    codes = pd.Index(list(map(str, names.tolist()))).get_indexer(pd.Index(list(map(str, labels.tolist()))))
    by_position = labels.dtype.kind in "iu" and names.dtype.kind not in "iu" and (codes < 0).all()
    if by_position and 0 <= labels.min() <= labels.max() < len(names):
        return labels.astype(np.int64)
    if (codes < 0).any():
        row = int(np.argmax(codes < 0))
        raise InputError(
            f"The human label of row {row} is {str(labels[row])!r}, which is no class; expected e.g. {names.tolist()[:5]}."
        )
    return codes.astype(np.int64)


def _relabel(dataset: Dataset, labels: np.ndarray, kind: str) -> Dataset:
    touched = np.flatnonzero(labels != dataset.labels)
    columns = _mark(dataset.columns, dataset.classes[dataset.labels], touched, kind)
    return replace(dataset.with_labels(labels), columns=columns)


def _of_classes(dataset: Dataset, classes: tuple[str, ...]) -> np.ndarray:
    if not classes:
        return np.arange(dataset.n_samples)
    names = dataset.classes.astype(str).tolist()
    unknown = [name for name in classes if name not in names]
    if unknown:
        raise InputError(f"noise_classes names {unknown[0]!r}, which is no class; the classes are {', '.join(names[:12])}.")
    return np.flatnonzero(np.isin(dataset.labels, [names.index(name) for name in classes]))


def _generator(corruption: Corruption, kind: str) -> np.random.Generator:
    """The draws of one kind."""
    return np.random.default_rng([corruption.seed, *kind.encode()])


def _draw(generator: np.random.Generator, n_samples: int, share: float) -> np.ndarray:
    return np.sort(generator.choice(n_samples, round(share * n_samples), replace=False))


def _mark(columns: pd.DataFrame, labels_before: np.ndarray, touched: np.ndarray, kind: str) -> pd.DataFrame:
    """Adds which samples were touched (k,), how, and what their labels were before the first change."""
    marked = columns.copy()
    if "corruption" not in marked:
        marked["original_label"] = labels_before
        marked["corrupted"] = False
        marked["corruption"] = pd.Series(pd.NA, index=marked.index, dtype="string")
    column = marked["corrupted"].to_numpy().copy()
    column[touched] = True
    before = marked["corruption"].iloc[touched]
    how = marked["corruption"].copy()
    how.iloc[touched] = before.where(before.isna(), before + ", ").fillna("") + kind
    return marked.assign(corrupted=column, corruption=how)
