"""`lapsi score-network`: from the function that makes a module and its data to a run directory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module, util
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import numpy as np

from lapsi.cli.show import tell_run
from lapsi.cli.terminal import say, told
from lapsi.cli.unfinished import until_whole
from lapsi.data.handed_over import handed_over, holds_module
from lapsi.data.items import content_of
from lapsi.data.samples import TEXT
from lapsi.errors import InputError, first_line, meant
from lapsi.networks import score_network as scored
from lapsi.report.overview import gallery_images, save_overview
from lapsi.results.run_directory import PICTURE

NEEDED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
TAKEN = tuple(signature(scored).parameters)


@dataclass(frozen=True, slots=True)
class Call:
    """What was asked for beside the run.

    Attributes:
        force: overwrite an existing run.
        quiet, as_json: how the result is told.
    """

    force: bool
    quiet: bool
    as_json: bool


def score_network(factory: str, output: Path, asked: dict[str, Any], how: Call) -> None:
    """Scores the data that the function `factory` names gives, and writes the run to `output`."""
    with until_whole(output, how.force, "lapsi score-network") as keep:
        arguments = made_by(factory)
        limit = asked.pop("limit", None)
        if limit is not None:
            if limit < 1:
                raise InputError(f"--limit is {limit}; expected at least 1.")
            asked["indices"] = np.arange(min(limit, len(data_of(arguments))))
        scores = scored(**arguments | asked, checkpoint=keep, progress=not how.quiet and not how.as_json)
        scores = replace(scores, provenance=replace(scores.provenance, factory=_absolute(factory)))
        content = None if TEXT in scores.table else content_of(data_of(arguments))  # texts are there already
        images = gallery_images(scores, content)
        scores.save(output, force=how.force, beside=lambda directory: save_overview(scores, directory / PICTURE, images))
    with told(output):
        tell_run(scores, 5, how.quiet, how.as_json)
        if not how.quiet and not how.as_json:
            say(f"Run directory: {output}   picture: {output / PICTURE}")


def data_of(made: Mapping[str, Any]) -> Any:
    """The data set that a factory gave, by itself or with a trainer."""
    return handed_over(made["model"], made.get("dataset"), None)[1]


def _absolute(factory: str) -> str:
    """Independent of the folder, where it is a file."""
    place, _, name = factory.rpartition(":")
    return f"{Path(place).absolute()}:{name}" if place.endswith(".py") else factory


def made_by(factory: str) -> dict[str, Any]:
    """What a function, named MODULE:FUNCTION or FILE.py:FUNCTION, gives to score.

    Raises:
        InputError: when there is no such function, or it gives something else.
    """
    function = _function(factory)
    needed = [
        each.name for each in signature(function).parameters.values() if each.default is each.empty and each.kind in NEEDED
    ]
    if needed:
        raise InputError(f"{factory} needs {', '.join(needed)}; expected a function that is called without arguments.")
    made = function()
    if isinstance(made, tuple | list) and len(made) == 2:
        made = {"model": made[0], "dataset": made[1]}
    if holds_module(made):
        made = {"model": made}
    if not isinstance(made, Mapping) or "model" not in made:
        raise InputError(
            f"{factory} returns a {type(made).__name__}; expected the module and its data set, a trainer that has both, or a "
            "mapping with 'model' and 'dataset'."
        )
    unknown = [str(name) for name in made if name not in TAKEN]
    if unknown:
        raise InputError(
            f"{factory} returns a mapping with {unknown[0]!r}, which lapsi.score_network does not "
            f"take.{meant(unknown[0], TAKEN)}"
        )
    return dict(made)


def _function(factory: str) -> Callable[[], Any]:
    place, _, name = factory.rpartition(":")
    if not place or not name:
        raise InputError(f"{factory!r} names no function; expected MODULE:FUNCTION or FILE.py:FUNCTION.")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else import_module(place)
    except ImportError as error:
        raise InputError(f"{place} cannot be imported: {first_line(error)}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InputError(f"{place} has no function {name!r}.")
    return function


def _from_file(path: Path) -> Any:
    if not path.is_file():
        raise InputError(f"There is no file {path}.")
    spec = util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module
