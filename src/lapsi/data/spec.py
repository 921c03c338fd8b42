"""What opens a data set, in a form that a run keeps: plain JSON values, named as the fields of the objects they become."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from pydantic import TypeAdapter

from lapsi.data.corruption import Corruption
from lapsi.data.extractors.base import ExtractorSettings
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.labels import read_labels
from lapsi.errors import InputError, first_line


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
    """

    source: str
    columns: Columns = field(default_factory=Columns)
    split: str | None = None
    data_dir: str | None = None
    extractor: ExtractorSettings = field(default_factory=ExtractorSettings)
    corruption: Corruption = field(default_factory=Corruption)
    human_labels: str | None = None
    cache: str | None = None
    skip_bad: bool = False

    def changes(self) -> Corruption:
        """All that is changed on purpose, human labels read from their file.

        Raises:
            InputError: when they cannot be read.
        """
        if self.human_labels is None:
            return self.corruption
        return replace(self.corruption, human_labels=read_labels(self.human_labels))

    def to_record(self) -> dict[str, Any]:
        """As plain JSON values."""
        corruption = {**asdict(self.corruption), "human_labels": self.human_labels}
        return {
            "source": self.source,
            "columns": {**asdict(self.columns), "keep": list(self.columns.keep)},
            "split": self.split,
            "data_dir": self.data_dir,
            "extractor": asdict(self.extractor),
            "corruption": {**corruption, "noise_classes": list(self.corruption.noise_classes)},
            "cache": self.cache,
            "skip_bad": self.skip_bad,
        }


def read_spec(record: dict[str, Any]) -> DataSpec:
    """What `DataSpec.to_record` gave; what it does not say has its default, and what is not known is left out.

    Raises:
        InputError: when it cannot be used.
    """
    try:
        asked = record.get("corruption", {})
        changes = {each.name: asked[each.name] for each in fields(Corruption) if each.name in asked}
        human_labels = changes.pop("human_labels", None)
        changes["noise_classes"] = tuple(changes.get("noise_classes", ()))
        return DataSpec(
            source=record["source"],
            columns=TypeAdapter(Columns).validate_python(record.get("columns", {})),
            extractor=TypeAdapter(ExtractorSettings).validate_python(record.get("extractor", {})),
            corruption=Corruption(**changes),
            human_labels=human_labels,
            **{name: record[name] for name in ("split", "data_dir", "cache", "skip_bad") if name in record},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"What the run keeps of its data cannot be used ({first_line(error)}); score them again.") from error
