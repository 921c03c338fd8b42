"""What opens a data set, in a form that a run keeps: plain JSON values, named as the fields of the objects they become."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from lapsi.data.readers.columns import Columns
from lapsi.errors import InputError, first_line
from lapsi.settings.corruption import CORRUPTION, Corruption
from lapsi.settings.extractor import RAW, ExtractorSettings
from lapsi.settings.option import Flag, Integer, Name, check_options, option
from lapsi.settings.pair_source import PairSource


@dataclass(frozen=True, slots=True, eq=False)
class DataSpec:
    """Which data, and what is done with them before they are scored.

    Attributes:
        source: as `open_source` takes it.
        columns: names inside it.
        split: the part to take, where it has several.
        data_dir: where the files of a named data set lie.
        extractor: which frozen model makes features of images and texts.
        corruption: what is changed on purpose, human labels apart.
        human_labels: FILE or FILE:NAME of labels that people gave, to be used instead.
        cache: folder of the feature cache.
        skip_bad: whether samples that cannot be read are left out.
        rows: how many samples are taken, for a trial, each class in proportion; None: all.
        shards: the files that the source named together when it was opened first; opened again it needs all of them.
    """

    source: str
    columns: Columns = field(default_factory=Columns)
    split: str | None = option(None, Name(), "Part to take of a source that has several. Default: train.")
    data_dir: str | None = option(None, Name("PATH"), "Where the files of a named data set lie.")
    extractor: ExtractorSettings = field(default_factory=ExtractorSettings)
    corruption: Corruption = field(default_factory=Corruption)
    human_labels: str | None = option(
        None, Name(), "Use the labels of this file instead: FILE, or FILE:NAME.", panel=CORRUPTION
    )
    cache: str | None = option(
        None, Name("PATH"), "Folder of the feature cache. Default: $LAPSI_CACHE, ~/.cache/lapsi.", panel=RAW
    )
    skip_bad: bool = option(False, Flag(), "Leave samples out that cannot be read, and list them.", panel=RAW)
    rows: int | None = option(
        None, Integer(2, optional=True), "A trial on about so many samples, drawn by class; only these are read and train."
    )
    shards: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_options(self)
        if self.rows is not None and self.human_labels is not None:
            raise InputError("--rows takes a part of the samples and --human-labels names labels of all; leave one out.")

    def to_record(self) -> dict[str, Any]:
        """As plain JSON values."""
        corruption = {**asdict(self.corruption), "human_labels": self.human_labels}
        return {
            "source": self.source,
            "columns": {**asdict(self.columns), "keep": list(self.columns.keep), "drop": list(self.columns.drop)},
            "split": self.split,
            "data_dir": self.data_dir,
            "extractor": asdict(self.extractor),
            "corruption": {**corruption, "noise_classes": list(self.corruption.noise_classes)},
            "cache": self.cache,
            "skip_bad": self.skip_bad,
            **({} if self.rows is None else {"rows": self.rows}),
            **({"shards": list(self.shards)} if self.shards else {}),
        }


def read_spec(record: dict[str, Any]) -> DataSpec:
    """What `DataSpec.to_record` gave; what it does not say has its default, and what is not known is left out.

    Raises:
        InputError: when it cannot be used.
    """
    try:
        changes = _known(Corruption, record.get("corruption", {}))
        return DataSpec(
            source=record["source"],
            columns=Columns(**_known(Columns, record.get("columns", {}))),
            extractor=ExtractorSettings(**_known(ExtractorSettings, record.get("extractor", {}))),
            human_labels=changes.pop("human_labels", None),
            shards=tuple(map(str, record.get("shards", ()))),
            corruption=Corruption(**changes),
            **{name: record[name] for name in ("split", "data_dir", "cache", "skip_bad", "rows") if name in record},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"What the run keeps of its data cannot be used ({first_line(error)}); score them again.") from error


def record_of_pairs(source: Path, asked: PairSource) -> dict[str, Any]:
    """What opens a file of pairs, as plain JSON values; the names of files are independent of the folder."""
    folder = None if asked.image_folder is None else str(Path(asked.image_folder).absolute())
    return {"source": str(source.absolute()), "pairs": {**asdict(asked), "keep": list(asked.keep), "image_folder": folder}}


def read_pairs_record(record: dict[str, Any]) -> tuple[Path, PairSource]:
    """What `record_of_pairs` gave; what it does not say has its default, and what is not known is left out.

    Raises:
        InputError: when it cannot be used.
    """
    try:
        return Path(record["source"]), PairSource(**_known(PairSource, record["pairs"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"What the run keeps of its pairs cannot be used ({first_line(error)}); score them again.") from error


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """Of what was kept that which a class has a field for."""
    return {each.name: values[each.name] for each in fields(kind) if each.name in values}
