"""`lapsi embed`: images or texts to features, alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from lapsi.cli.data import open_data
from lapsi.cli.options import (
    AsJson,
    BatchSize,
    Cache,
    ClassNames,
    DataDir,
    Force,
    Group,
    Ids,
    Images,
    KeepColumns,
    Labels,
    MaxTokens,
    Model,
    ModelDtype,
    Normalize,
    Pooling,
    Quiet,
    ReferenceLabels,
    SkipBad,
    Source,
    Split,
    SplitColumn,
    Texts,
    to_absolute,
    to_plain,
    to_spec,
)
from lapsi.cli.show import tell_left_out
from lapsi.data.readers.arrays import write_features
from lapsi.errors import InputError
from lapsi.execution.files import require_file_free, write_file
from lapsi.execution.progress import Stages


def embed(
    context: typer.Context,
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .safetensors.")],
    labels: Labels = None,
    ids: Ids = None,
    group: Group = None,
    split_column: SplitColumn = None,
    reference_labels: ReferenceLabels = None,
    class_names: ClassNames = None,
    keep: KeepColumns = None,
    split: Split = None,
    data_dir: DataDir = None,
    images: Images = None,
    texts: Texts = None,
    model: Model = None,
    pooling: Pooling = "auto",
    normalize: Normalize = None,
    max_tokens: MaxTokens = None,
    batch_size: BatchSize = 32,
    device: Annotated[str, typer.Option(help="torch device, e.g. cpu or cuda.")] = "cpu",
    dtype: ModelDtype = "float32",
    cache: Cache = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make features of images or texts with a frozen pretrained model, and write them with labels to one file.

    What was embedded before comes from the cache, so an interrupted call goes on where it stopped.
    """
    if output.suffix != ".safetensors":
        raise InputError(f"{output.name} is a file of kind {output.suffix or '(none)'!r}; expected .safetensors.")
    require_file_free(output, force)
    options = to_plain(context.params) | {"embed_batch_size": batch_size, "embed_dtype": dtype}
    opened = open_data(to_spec(to_absolute(options)), str(source), Stages(not quiet and not as_json))
    if opened.content is None:
        raise InputError(f"{source} holds features already; score it as it is, or name a column with --images or --texts.")
    record = {"extractor": opened.record["extractor"], "licence": opened.record["licence"]}
    if len(opened.left_out) > 0:
        record["left_out"] = opened.left_out.to_dict("records")
    write_file(output, lambda path: write_features(opened.dataset, record, path), force)
    dataset = opened.dataset
    if as_json:
        shape = {"n_samples": dataset.n_samples, "n_features": dataset.n_features}
        print(json.dumps({"file": str(output), **shape, **record}, indent=2))
    elif not quiet:
        extractor = record["extractor"]
        text = (
            f"{dataset.n_samples:,} samples, {dataset.n_features} features, {dataset.n_classes} classes by "
            f"{extractor['model']} ({extractor['n_from_cache']:,} from the cache) to {output}"
        )
        Console().print(text, soft_wrap=True, markup=False)
        tell_left_out(opened.left_out, Console())
