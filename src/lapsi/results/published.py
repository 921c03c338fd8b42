"""Scores for others to use: one small file of a run, what made it, and a card that says so in words.

The file is a Parquet table, a row a scored sample, its position in the source in `row`; card and provenance are its metadata.
Neither labels, texts, paths nor identifiers are in it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lapsi.errors import InputError, first_line
from lapsi.execution.files import write_file
from lapsi.results.columns import find_column
from lapsi.results.scores import Scores

CARD, PROVENANCE = b"lapsi_card", b"lapsi_provenance"
COLUMNS = ("row", "lsi", "lsi_mean", "lsi_curvature", "loo_probability", "loo_loss", "rank", "rank_in_class")
TOLD = ("version", "created", "engine", "dtype", "n_samples", "n_features", "n_classes", "task", "settings", "verification")
CHANGED = "corruption"
ENDING = ".parquet"
CITATION = 'Kaiser et al., "Laplace Sample Information: Data Informativeness Through a Bayesian Lens", ICLR 2025'


@dataclass(frozen=True, slots=True, eq=False)
class Published:
    """Scores as they were published.

    Attributes:
        table: row, lsi, lsi_mean, lsi_curvature (nats), what a model without the sample predicts (loo_probability of its label,
            or loo_loss), rank, rank_in_class, and other measures of the run.
        card: what they are of, how they were made, and under which terms, in Markdown.
        provenance: version, settings and measured accuracy of the run.
    """

    table: pd.DataFrame
    card: str
    provenance: dict[str, Any]


def publish(scores: Scores, path: str | Path, *, title: str, licence: str = "", force: bool = False) -> Path:
    """Writes the scores of a run to one small file, without labels, texts, paths or identifiers.

    Args:
        scores: the run.
        path: of the file, .parquet.
        title: of data and features, e.g. "CIFAR-10, training images; SqueezeNet features".
        licence: terms of the scores, and a note on those of the data; what the source says of its own is told anyway.
        force: overwrite a file that is there.

    Raises:
        InputError: when the path is of another kind of file, there is no title, or it is no text.
        RunExistsError: when a file is there and `force` is not set.
    """
    target = Path(path)
    if target.suffix != ENDING:
        raise InputError(f"{target.name} is a file of kind {target.suffix or '(none)'!r}; expected {ENDING}.")
    if not title.strip():
        raise InputError("The title is empty; say which data and which features were scored.")
    for name, text in (("title", title), ("licence", licence)):
        if text != text.encode("utf-8", "replace").decode():
            raise InputError(f"The {name} is no text in UTF-8; write it anew.")
    table = _table(scores)
    whole = asdict(scores.provenance)
    provenance = {name: whole[name] for name in (*TOLD, CHANGED)} | {"measures": scores.provenance.measures}
    told = {CARD: _card(scores, table, title, licence).encode(), PROVENANCE: json.dumps(provenance).encode()}
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata(told)
    numbers = [name for name in table if table[name].dtype == "float32"]
    whole_numbers = [name for name in table if name not in numbers]

    def write(into: Path) -> None:
        pq.write_table(
            arrow, into, compression="zstd", use_byte_stream_split=numbers, use_dictionary=False, write_statistics=whole_numbers
        )

    write_file(target, write, force)
    return target


def published(name: str | Path) -> Published:
    """Scores that come with lapsi, by the name of their data set, or those of a file.

    Raises:
        InputError: when there are none of the name, or the file holds no published scores.
    """
    kept = files("lapsi.results").joinpath("data")
    kept_files = kept.iterdir() if kept.is_dir() else ()
    there = sorted(file.name.removesuffix(ENDING) for file in kept_files if file.name.endswith(ENDING))
    path = Path(str(kept.joinpath(f"{name}{ENDING}"))) if str(name) in there else Path(name)
    if not path.is_file():
        raise InputError(
            f"There are no published scores of {str(name)!r}; expected {', '.join([*map(repr, there), 'a file'])}."
        )
    try:
        arrow = pq.read_table(path)
        told = arrow.schema.metadata or {}
        return Published(arrow.replace_schema_metadata(None).to_pandas(), told[CARD].decode(), json.loads(told[PROVENANCE]))
    except (OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path} holds no published scores ({first_line(error)}); expected a file of lapsi publish."
        ) from error


def _table(scores: Scores) -> pd.DataFrame:
    """Numbers in float32 and int32, those of other measures with them."""
    measured = [column.name for column in scores.columns if column.measure in scores.provenance.measures and column.is_number]
    evidence = "loo_probability" if "loo_probability" in scores.table else "loo_loss"
    wanted = [name for name in COLUMNS if name in scores.table and (name == evidence or not name.startswith("loo_"))]
    table = scores.table[[*wanted, *measured]]
    types = {name: "float32" if pd.api.types.is_float_dtype(table[name]) else "int32" for name in table}
    return table.astype(types).sort_values("row", ignore_index=True)


def _card(scores: Scores, table: pd.DataFrame, title: str, licence: str) -> str:
    """What a reader who has only the file should know."""
    about = scores.provenance
    meanings = [f"- `{name}`: {find_column(str(name), scores.described).help}" for name in table]
    samples = f"{len(table):,} of {about.n_samples:,} samples, {about.n_features:,} features, {about.n_classes:,} outputs."
    decay = about.settings["objective"]["weight_decay"]
    made = f"lapsi {about.version}, engine {about.engine}, {about.settings['curvature']} curvature, weight decay {decay:g}"
    checked = about.verification
    error = (
        "not verified" if checked is None else f"largest relative error of samples checked {checked['max_relative_error']:.1e}"
    )
    terms = [line for line in (licence, f"Terms of the data: {about.licence}" if about.licence else "") if line]
    return "\n".join(
        [
            f"# Laplace Sample Information: {title}",
            "",
            samples,
            f"Made by {made}, {about.created}; {error}.",
            *([f"Changed on purpose before: {json.dumps(about.corruption)}."] if about.corruption else []),
            "",
            *meanings,
            "",
            *(terms or ["No terms were given."]),
            "",
            f"LSI: {CITATION}.",
            "",
        ]
    )
