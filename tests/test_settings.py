import re
from dataclasses import fields
from inspect import signature

import pytest
import typer

import lapsi
from lapsi.cli.data import DATA
from lapsi.cli.main import app
from lapsi.cli.options import to_columns, to_corruption, to_extractor, to_settings
from lapsi.data.corruption import Corruption
from lapsi.data.extractors.base import ExtractorSettings
from lapsi.data.readers.columns import Columns
from lapsi.errors import InputError
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import Settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curvature": "dense"}, "curvature is 'dense'; expected one of 'diag', 'kfac', 'full'"),
        ({"engine": "bayes"}, "engine is 'bayes'"),
        ({"removal": "median"}, "removal is 'median'"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"weight_decay": 0}, "no finite optimum"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"weight_decay": True}, "weight_decay is True"),
        ({"prior_precision": 0}, "prior_precision is 0; expected 'map' or a finite number greater than 0"),
        ({"prior_precision": "mle"}, "prior_precision is 'mle'"),
        ({"refine": -1}, "refine is -1"),
        ({"refine": "always"}, "refine is 'always'.*'auto'"),
        ({"verify": -2}, "verify is -2"),
        ({"verify": 1.5}, "verify is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"memory_limit": 0}, "memory_limit is 0"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Settings(**change)


def test_kron_is_an_alias_of_kfac():
    assert Settings(curvature="kron") == Settings(curvature="kfac")


def defaults_of(kind):
    return {field.name: field.default for field in fields(kind)}


def parameters(command):
    return {parameter.name: parameter for parameter in typer.main.get_command(app).commands[command].params}


@pytest.mark.parametrize(
    ("door", "kind", "left_out"),
    [
        (lapsi.score, Settings, set()),
        (lapsi.LaplaceSampleInformation, Settings, set()),
        (
            lapsi.leave_group_out,
            Settings,
            {"engine", "hidden", "activation", "recipe", "every", "refine", "verify", "dtype", "seed"},
        ),
        (lapsi.embed, ExtractorSettings, set()),
    ],
)
def test_the_doors_of_python_have_the_defaults_of_the_settings(door, kind, left_out):
    asked = {name: parameter.default for name, parameter in signature(door).parameters.items()}
    expected = {name: value for name, value in defaults_of(kind).items() if name not in left_out}
    assert {name: asked.get(name, "missing") for name in expected} == expected
    assert left_out.isdisjoint(asked)


def test_the_command_line_has_the_defaults_of_the_settings():
    options = {name: parameter.default for name, parameter in parameters("score").items()}
    assert to_settings(options) == Settings(device="cpu")
    assert to_settings(options | {"preset": "paper"}) == Settings(device="cpu", recipe=Recipe())
    assert to_extractor(options) == ExtractorSettings(device="cpu")
    assert {name: getattr(to_corruption(options), name) for name in defaults_of(Corruption)} == defaults_of(Corruption)
    assert to_columns(options) == Columns()
    assert {name: options[name] for name in DATA} == DATA
    embed = {name: parameter.default for name, parameter in parameters("embed").items()}
    assert to_extractor(DATA | embed | {"embed_batch_size": embed["batch_size"], "embed_dtype": embed["dtype"]}) == (
        ExtractorSettings(device="cpu")
    )


def test_the_help_of_the_recipe_tells_its_defaults():
    options = parameters("score")
    told = {name: re.search(r"Default: (.+)\.$", options[name].help) for name in defaults_of(Recipe)}
    off = {"sam_radius", "batch_size", "clip_norm", "noise_multiplier"}
    assert {name for name, match in told.items() if match is None} == off
    for name, default in defaults_of(Recipe).items():
        if name in off:
            assert not default
        elif isinstance(default, bool):
            assert told[name][1] == ("on" if default else "off")
        elif isinstance(default, tuple):
            assert tuple(map(float, told[name][1].split(","))) == default
        else:
            assert type(default)(told[name][1]) == default
