"""The data sets of the paper, by name: their splits, class names, sizes and terms, and where their files come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pandas as pd
from sklearn.datasets import load_digits

from lapsi.data.dataset import CARRIED, Dataset, make_dataset
from lapsi.data.readers.cifar import CIFAR10, CIFAR100, Cifar, read_cifar
from lapsi.data.readers.cifar_n import LICENCE as HUMAN_LICENCE
from lapsi.data.readers.cifar_n import SITE as HUMAN_SITE
from lapsi.data.readers.cifar_n import HumanLabels
from lapsi.data.readers.columns import LABEL_NAMES, Columns, choose_name, listed, require_name
from lapsi.data.readers.hub import DEFAULT_SPLIT, read_hub_dataset
from lapsi.data.readers.named_folders import IMAGENETTE, IMAGEWOOF, read_imagenet_folder, read_imdb, read_pneumonia
from lapsi.data.readers.names import DIGITS
from lapsi.data.samples import Samples
from lapsi.errors import InputError

HUB_SPLITS = {"val": "validation"}


@dataclass(frozen=True, slots=True)
class Named:
    """What is known of a data set.

    Attributes:
        licence: its terms.
        splits: the number of samples of each; several where its releases differ.
        read: the split in the official folder, with all that is known of the samples as columns.
        archive: what to download by hand.
        folders: those that the archive unpacks to, and what stands in each of them.
        hub: a copy on the Hugging Face hub, as `read_hub_dataset` takes it, or None.
        hub_columns: which of its columns hold the labels, and what else is known of the samples.
        human: more labels of the training split, or None.
    """

    licence: str
    splits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    read: Callable[[Path, str], Samples] | None = None
    archive: str = ""
    folders: Mapping[str, str] = field(default_factory=dict)
    hub: str | None = None
    hub_columns: Columns = field(default_factory=Columns)
    human: HumanLabels | None = None

    def by_hand(self) -> str:
        """How to get the files without the hub."""
        return f"unpack {self.archive} into a folder, which then holds {' or '.join(self.folders)}, and add --data-dir FOLDER."


def read_named(name: str, columns: Columns, split: str | None, data_dir: Path | None) -> Dataset | Samples:
    """A data set of `NAMED`; "digits" has features, the others want an extractor.

    Args:
        name: of the data set.
        columns: what is known of the samples, by name: label, and where they have one coarse_label, the label sets of CIFAR-N
            (aggre_label, …), path, text and group. The last three travel along without being asked for.
        split: None for "train".
        data_dir: the official folder or the one that holds it; None takes the copy on the Hugging Face hub.

    Raises:
        InputError: for an unknown split or column, naming those present; for missing or damaged files, saying which to put
            where; and when a split has not the official number of samples.
    """
    spec = NAMED[name]
    for what in ("features", "prefix", "images", "texts", "class_names", "drop"):
        if getattr(columns, what) not in (None, ()):
            raise InputError(
                f"{name} is read in its own format, so its {what.replace('_', ' ')} cannot be named; leave it out."
            )
    if spec.read is None:
        return _digits(columns, split, data_dir)
    part = split or DEFAULT_SPLIT
    if part not in spec.splits:
        raise InputError(f"{name} has no split {part!r}; it has {listed(list(spec.splits))}.")
    found = _from_hub(name, spec, part) if data_dir is None else spec.read(_locate(name, spec, data_dir), part)
    if len(found.labels) not in spec.splits[part]:
        expected = " or ".join(map(str, spec.splits[part]))
        raise InputError(
            f"{found.source} holds {len(found.labels)} samples of {name}, split {part}; expected {expected}: {spec.by_hand()}"
        )
    return _select(name, spec, found.columns.assign(split=part), found, columns)


def _digits(columns: Columns, split: str | None, data_dir: Path | None) -> Dataset:
    for option, value in {"--split": split, "--data-dir": data_dir}.items():
        if value is not None:
            raise InputError(f"{option} {value} does not apply to {DIGITS}, which comes whole with scikit-learn; leave it out.")
    digits = load_digits()
    known = {"label": digits.target}
    label, ids, carried = _choose(DIGITS, NAMED[DIGITS], list(known), columns)
    table = {new: known[old] for new, old in carried.items()}
    dataset = make_dataset(digits.data, known[label], ids=None if ids is None else known[ids], columns=table, source=DIGITS)
    return replace(dataset, made_by={"licence": NAMED[DIGITS].licence})


def _from_hub(name: str, spec: Named, split: str) -> Samples:
    if spec.hub is None:
        raise InputError(f"{name} is read from its official files only: {spec.by_hand()}")
    try:
        return read_hub_dataset(spec.hub, spec.hub_columns, HUB_SPLITS.get(split, split))
    except InputError as error:
        raise InputError(f"{error} To do without the hub, {spec.by_hand()}") from error


def _locate(name: str, spec: Named, data_dir: Path) -> Path:
    """The official folder: `data_dir`, or the one in it."""
    if any((data_dir / inside).exists() for inside in spec.folders.values()):
        return data_dir
    found = [folder for folder, inside in spec.folders.items() if (data_dir / folder / inside).exists()]
    if not found:
        raise InputError(f"{data_dir} holds no files of {name}; {spec.by_hand()}")
    if len(found) > 1:
        raise InputError(f"{data_dir} holds {' and '.join(found)}; name one of them, e.g. --data-dir {data_dir / found[0]}.")
    return data_dir / found[0]


def _choose(name: str, spec: Named, names: list[str], columns: Columns) -> tuple[str, str | None, dict[str, str]]:
    """Of all that is known of the samples, what holds the labels, what the ids, and what travels along under which name."""
    try:
        label = choose_name(columns.labels, LABEL_NAMES, names, "labels", name)
        ids = None if columns.ids is None else require_name(columns.ids, names, "ids", name)
        return label, ids, {column: column for column in names if column in CARRIED} | columns.carried(names, name)
    except InputError as error:
        if spec.human is None:
            raise
        raise InputError(
            f"{error} The labels of CIFAR-N, for the training split, want {spec.human.file} ({HUMAN_SITE}) beside the official "
            f"folder, {' or '.join(spec.folders)}, and --data-dir FOLDER."
        ) from error


def _select(name: str, spec: Named, known: pd.DataFrame, found: Samples, columns: Columns) -> Samples:
    """The samples with the label set and the columns that were asked for."""
    values = {"label": found.labels} | {str(column): known[column].to_numpy() for column in known}
    label, ids, carried = _choose(name, spec, list(values), columns)
    human = set() if spec.human is None else {label, ids, *carried.values()} & set(spec.human.columns)
    return replace(
        found,
        labels=values[label],
        ids=found.ids if ids is None else values[ids],
        columns=pd.DataFrame({new: values[old] for new, old in carried.items()}, index=range(len(known))),
        licence=f"{spec.licence}; {HUMAN_LICENCE}" if human else spec.licence,
    )


def _cifar(form: Cifar, number: int, hub_columns: Columns, python: str, binary: str) -> Named:
    return Named(
        "no formal licence; cite Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images",
        {"train": (50000,), "test": (10000,)},
        partial(read_cifar, form=form),
        f"cifar-{number}-python.tar.gz or cifar-{number}-binary.tar.gz (www.cs.toronto.edu/~kriz/cifar.html)",
        {python: form.names, binary: form.kinds["label"].names_file},
        f"uoft-cs/cifar{number}",
        hub_columns,
        form.human,
    )


def _imagenet(name: str, classes: Mapping[str, str], train: int, val: int, hub: str | None) -> Named:
    folders = [f"{name}2-320", f"{name}2", f"{name}2-160"]
    return Named(
        "Apache-2.0 for the collection; the images under the terms of ImageNet, for research and education only",
        {"train": (train,), "val": (val,)},
        partial(read_imagenet_folder, classes=classes),
        f"{' or '.join(f'{folder}.tgz' for folder in folders)} (github.com/fastai/imagenette)",
        dict.fromkeys(folders, "train"),
        hub,
    )


FINE = Columns(labels="fine_label", keep=("coarse_label",))

NAMED = {
    "cifar10": _cifar(CIFAR10, 10, Columns(), "cifar-10-batches-py", "cifar-10-batches-bin"),
    "cifar100": _cifar(CIFAR100, 100, FINE, "cifar-100-python", "cifar-100-binary"),
    "imagenette": _imagenet("imagenette", IMAGENETTE, 9469, 3925, "frgfm/imagenette:320px"),
    # no copy: the class names of frgfm/imagewoof stand in another order than the WordNet ids that its labels count
    "imagewoof": _imagenet("imagewoof", IMAGEWOOF, 9025, 3929, None),
    # no copy: those on the hub lose the names of the files, which tell bacterial from viral
    "pneumonia": Named(
        "CC BY 4.0; Kermany et al. 2018, doi.org/10.17632/rscbjbr9sj",
        {"train": (5216, 5232), "test": (624,), "val": (16,)},
        read_pneumonia,
        "ChestXRay2017.zip (data.mendeley.com/datasets/rscbjbr9sj/2) or chest-xray-pneumonia.zip "
        "(www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia)",
        {"chest_xray": "train"},
    ),
    "imdb": Named(
        "no formal licence; cite Maas et al. 2011, Learning Word Vectors for Sentiment Analysis",
        {"train": (25000,), "test": (25000,)},
        read_imdb,
        "aclImdb_v1.tar.gz (ai.stanford.edu/~amaas/data/sentiment)",
        {"aclImdb": "train"},
        "stanfordnlp/imdb",
    ),
    DIGITS: Named(
        "CC BY 4.0; UCI Machine Learning Repository, Optical Recognition of Handwritten Digits, Alpaydin and Kaynak 1998"
    ),
}
