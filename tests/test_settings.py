import re
from dataclasses import fields
from inspect import signature

import pytest
import typer

import lapsi
from lapsi.cli.main import app
from lapsi.cli.options import to_changed_spec, to_settings
from lapsi.data.corruption import Corruption
from lapsi.data.extractors.base import ExtractorSettings
from lapsi.data.readers.columns import Columns
from lapsi.errors import InputError
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import Settings, make_settings, setting_names


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
        make_settings(**change)


def test_kron_is_an_alias_of_kfac():
    assert make_settings(curvature="kron") == make_settings(curvature="kfac")


def defaults_of(kind):
    return {field.name: field.default for field in fields(kind)}


def defaults_asked(door):
    return {name: parameter.default for name, parameter in signature(door).parameters.items()}


def parameters(command):
    return {parameter.name: parameter for parameter in typer.main.get_command(app).commands[command].params}


def test_the_doors_of_python_have_the_defaults_of_the_settings():
    assert make_settings() == Settings()
    parts = ("model", "objective", "execution")
    for door, named in ((lapsi.score, parts), (lapsi.leave_group_out, parts[1:])):
        asked = defaults_asked(door)
        assert [asked[name] for name in named] == [None] * len(named)
        assert asked["curvature"] == Settings().curvature
    assert make_settings(defaults_asked(lapsi.score)["engine"]) == Settings()
    assert defaults_of(ExtractorSettings).items() <= defaults_asked(lapsi.embed).items()


def test_the_estimator_has_every_setting_with_its_default():
    asked = {name: value for name, value in defaults_asked(lapsi.LaplaceSampleInformation).items() if name != "progress"}
    assert set(asked) == {*setting_names(), "engine", "curvature"}
    assert make_settings(**asked) == Settings()


def test_the_command_line_has_the_defaults_of_the_settings():
    options = {name: parameter.default for name, parameter in parameters("score").items()}
    assert to_settings(options) == make_settings(device="cpu")
    assert to_settings(options | {"preset": "paper"}) == make_settings(device="cpu", recipe=Recipe())
    embed = {name: parameter.default for name, parameter in parameters("embed").items()}
    embed |= {"embed_batch_size": embed["batch_size"], "embed_dtype": embed["dtype"]}
    for each in (options, options | embed):
        spec = to_changed_spec(each)
        assert spec.extractor == ExtractorSettings(device="cpu")
        assert spec.columns == Columns()
        assert {name: getattr(spec.corruption, name) for name in defaults_of(Corruption)} == defaults_of(Corruption)


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
