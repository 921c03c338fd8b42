"""`lapsi embed`: images or texts to features, alone."""

from __future__ import annotations

import json
from pathlib import Path

from lapsi.cli.data import open_and_tell
from lapsi.cli.generated import Options
from lapsi.cli.options import MACHINES, called, to_absolute, to_embed_spec
from lapsi.cli.show import outputs_in_words, tell_left_out
from lapsi.cli.terminal import say, told
from lapsi.data.writing import write_features
from lapsi.errors import InputError
from lapsi.execution.backend import open_backend
from lapsi.execution.files import write_file
from lapsi.execution.progress import Stages


def embed(options: Options, output: Path, force: bool, quiet: bool, as_json: bool) -> None:
    """Makes the features that the options ask for, and writes them with labels to one file."""
    source = called(options["source"])
    with open_backend(MACHINES.make(options)) as backend:
        opened = open_and_tell(to_embed_spec(to_absolute(options)), source, Stages(not quiet and not as_json), backend)
    if opened.content is None:
        raise InputError(f"{source} holds features already; score it as it is, or name a column with --images or --texts.")
    record = {"extractor": opened.record["extractor"], "licence": opened.record["licence"]}
    if len(opened.left_out) > 0:
        record["left_out"] = opened.left_out.to_dict("records")
    write_file(output, lambda path: write_features(opened.dataset, record, path), force)
    dataset, extractor = opened.dataset, record["extractor"]
    with told(output):
        if as_json:
            shape = {"n_samples": dataset.n_samples, "n_features": dataset.n_features}
            print(json.dumps({"file": str(output), **shape, **record}, indent=2))
        elif not quiet:
            predicted = outputs_in_words(dataset.targets.n_outputs, dataset.targets.task)
            say(
                f"{dataset.n_samples:,} samples, {dataset.n_features} features, {predicted} by {extractor['model']} "
                f"({extractor['n_from_cache']:,} from the cache) to {output}"
            )
            tell_left_out(opened.left_out)
