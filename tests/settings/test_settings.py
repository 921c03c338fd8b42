import json
from dataclasses import fields
from inspect import signature

import numpy as np
import pytest
import typer

import lapsi
from lapsi.cli.main import app
from lapsi.cli.options import to_changed_spec, to_embed_spec, to_settings
from lapsi.data.spec import DataSpec
from lapsi.errors import InputError
from lapsi.settings.engine import Auto, Local, Newton, Retrain
from lapsi.settings.execution import Execution
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.model import ModelSpec
from lapsi.settings.objective import ObjectiveSpec
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import Settings, make_settings, setting_names, settings_from_dict

PARTS = {"model": ModelSpec, "objective": ObjectiveSpec, "execution": Execution}
CHOSEN = {  # of every setting another value than its default, by the field that keeps it
    "model": {"hidden": (5,), "activation": "tanh", "standardize": "one"},
    "objective": {
        "weight_decay": 0.2,
        "prior_precision": 3.0,
        "removal": "sum",
        "noise_variance": (2.0, 3.0),
        "noise_removal": "anew",
        "class_weight": "balanced",
    },
    "execution": {
        "verify": 1,
        "device": "cpu",
        "dtype": "float64",
        "seed": 3,
        "memory_limit": 2**33,
        "backend": "ray",
        "address": "10.0.0.1:6379",
        "worker_cpus": 2,
    },
    "auto": {"tolerance": 1e-4},
    "newton": {"refine": 2},
    "local": {"coupled": 3, "converge": 5},
    "retrain": {"recipe": Recipe(epochs=4, seeds=1), "every": 2},
}
OF_RAY = ("address", "worker_cpus")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curvature": "dense"}, "curvature is 'dense'; expected one of 'diag', 'kfac', 'full'"),
        ({"engine": "bayes"}, "engine is 'bayes'"),
        ({"removal": "median"}, "removal is 'median'"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"backend": "dask"}, "backend is 'dask'; expected one of 'local', 'ray'"),
        ({"address": "10.0.0.1:6379"}, "address is '10.0.0.1:6379' but backend is 'local'"),
        ({"worker_cpus": 2}, "worker_cpus is 2 but backend is 'local'"),
        ({"backend": "ray", "worker_cpus": 0}, "worker_cpus is 0; expected an integer of at least 1"),
        ({"weight_decay": 0}, "no finite optimum"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"weight_decay": True}, "weight_decay is True"),
        ({"prior_precision": 0}, "prior_precision is 0; expected 'map' or a finite number greater than 0"),
        ({"prior_precision": "mle"}, "prior_precision is 'mle'"),
        ({"noise_variance": 0}, "noise_variance is 0; expected 'residuals', a finite number greater than 0"),
        ({"noise_variance": (1.0, -1.0)}, r"noise_variance is \(1.0, -1.0\)"),
        ({"noise_variance": "mle"}, "noise_variance is 'mle'"),
        ({"class_weight": "even"}, "class_weight is 'even'; expected one of 'balanced'"),
        ({"refine": -1}, "refine is -1"),
        ({"refine": "always"}, "refine is 'always'.*'auto'"),
        ({"tolerance": 0}, "tolerance is 0; expected a finite number greater than 0"),
        ({"tolerance": "high"}, "tolerance is 'high'"),
        ({"tolerance": 1e-4, "refine": 2}, "tolerance is 0.0001 but refine is 2.*expected refine 'auto', or no tolerance"),
        ({"engine": "local", "curvature": "full"}, "curvature is 'full'; engine 'local' offers 'diag' and 'kfac'"),
        ({"engine": "local", "dtype": "float64"}, "dtype is 'float64', but engine 'local' takes its products in float32"),
        ({"engine": "local", "hidden": (4,)}, "engine is 'local' but hidden was given"),
        ({"engine": "local", "noise_removal": "anew"}, "noise_removal is 'anew', which engine 'local' cannot"),
        ({"coupled": 0}, "coupled is 0"),
        ({"converge": 5, "engine": "newton"}, "converge is 5 but belongs to engine 'local'; leave it at 0"),
        ({"tolerance": 1e-4, "engine": "retrain"}, "tolerance is 0.0001 but belongs to engine 'newton'"),
        ({"verify": -2}, "verify is -2"),
        ({"verify": 1.5}, "verify is 1.5"),
        ({"seed": -1}, "seed is -1"),
        ({"memory_limit": 0}, "memory_limit is 0"),
    ],
)
def test_wrong_settings_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        make_settings(**change)


def test_numpy_scalars_are_numbers_and_kept_as_plain_values():
    plain = {"weight_decay": 0.5, "prior_precision": 2, "refine": 3, "verify": 4, "seed": 5, "memory_limit": 6_000_000}
    kinds = (np.float32, np.int64, np.int32, np.uint8, np.int64, np.float64)
    given = {name: kind(value) for (name, value), kind in zip(plain.items(), kinds, strict=True)}
    settings = make_settings(**given, standardize=np.True_)
    assert settings == make_settings(**plain, standardize="each")
    assert json.loads(json.dumps(settings.to_dict())) == settings.to_dict()
    layers = make_settings(
        hidden=(np.int64(3),), every=np.int64(2), recipe=Recipe(epochs=np.int64(4), momentum=np.float64(0.5))
    )
    assert layers == make_settings(hidden=(3,), every=2, recipe=Recipe(epochs=4, momentum=0.5))
    assert json.loads(json.dumps(layers.to_dict())) == layers.to_dict()
    with pytest.raises(InputError, match="seed is np.True_"):
        make_settings(seed=np.True_)


def test_kron_is_an_alias_of_kfac():
    assert make_settings(curvature="kron") == make_settings(curvature="kfac")


def defaults_of(kind):
    """By name, of the fields of a part and of the engines that hold an object: what is asked for where nothing is said."""
    return {field.name: field.default for field in fields(kind) if field.name != "recipe"}


def defaults_of_door(door):
    return {name: parameter.default for name, parameter in signature(door).parameters.items()}


def parameters(command):
    return {parameter.name: parameter for parameter in typer.main.get_command(app).get_command(None, command).params}


def test_the_settings_have_the_defaults_of_their_parts():
    assert make_settings() == Settings() == Settings(ModelSpec(), ObjectiveSpec(), Auto(), "diag", Execution())
    assert make_settings("retrain") == Settings(engine=Retrain()) == Settings(engine=Retrain(Recipe()))


@pytest.mark.parametrize("door", [lapsi.score, lapsi.leave_group_out])
def test_the_functions_of_python_leave_the_defaults_to_the_settings(door):
    asked = defaults_of_door(door)
    parts = {name: asked.get(name) for name in PARTS}
    assert parts == dict.fromkeys(PARTS)
    assert make_settings(asked.get("engine", "auto"), asked["curvature"], **parts) == Settings()
    assert set(asked).isdisjoint(setting_names())


@pytest.mark.parametrize(
    ("door", "of_other_targets"),
    [
        (lapsi.LaplaceSampleInformation, ("noise_variance", "noise_removal")),
        (lapsi.LaplaceSampleInformationRegressor, ("class_weight",)),
    ],
)
def test_the_estimators_have_the_defaults_of_the_settings(door, of_other_targets):
    asked = defaults_of_door(door)
    expected = {name: value for kind in (*PARTS.values(), Newton, Local, Retrain) for name, value in defaults_of(kind).items()}
    expected |= {"divergence": "kl", "order": None}
    assert set(expected) | {"recipe"} == set(setting_names())
    for name in of_other_targets:
        del expected[name]
    assert asked == expected | {"recipe": None, "engine": "auto", "curvature": Settings().curvature, "progress": False}


def test_embedding_has_the_defaults_of_the_extractor():
    asked, expected = defaults_of_door(lapsi.embed), defaults_of(ExtractorSettings)
    assert {name: asked.get(name, "missing") for name in expected} == expected


def test_every_short_name_lands_in_its_field():
    assert [*(name for part in CHOSEN.values() for name in part), "divergence", "order"] == setting_names()
    engines = {"auto": Auto(), "newton": Newton(), "local": Local(), "retrain": Retrain()}
    default = {name: kind() for name, kind in PARTS.items()} | engines
    for part, chosen in CHOSEN.items():
        for name, value in chosen.items():
            settings = make_settings(**({"backend": "ray"} if name in OF_RAY else {}), **{name: value})
            holder = settings.engine if part in engines else getattr(settings, part)
            assert type(holder) is type(default[part])
            assert getattr(holder, name) == value != getattr(default[part], name)
            others = [kept for kept in PARTS if kept != part]
            plain = make_settings(type(settings.engine)())
            assert [getattr(settings, kept) for kept in others] == [getattr(plain, kept) for kept in others]


@pytest.mark.parametrize(
    ("engine", "idle"),
    [
        ("newton", ["hidden", "refine"]),
        ("newton", ["hidden", "tolerance"]),
        ("local", ["hidden", "dtype"]),
        ("retrain", ["tolerance"]),
    ],
)
def test_every_short_name_reaches_the_run(engine, idle):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 2)), np.arange(12) % 2
    chosen = CHOSEN["model"] | CHOSEN["objective"] | CHOSEN["auto"] | CHOSEN[engine] | CHOSEN["execution"]
    chosen |= {"curvature": "diag" if engine == "local" else "kfac"}
    for name in ("noise_variance", "noise_removal", "backend", *OF_RAY, *idle):  # the first two are of numbers
        del chosen[name]
    expected = make_settings(engine, **chosen).to_dict()
    assert lapsi.score(X, y, engine=engine, **chosen, progress=False).provenance.settings == expected
    estimator = lapsi.LaplaceSampleInformation(engine=engine, **chosen).fit(X, y)
    assert estimator.scores_.provenance.settings == expected


@pytest.mark.parametrize(("door", "more"), [(make_settings, ()), (lapsi.score, (None, None))])
def test_names_that_are_none_are_refused_with_the_list(door, more):
    with pytest.raises(InputError) as caught:
        door(*more, learning_rates=0.1)
    told = str(caught.value)
    assert told.startswith("There is no setting 'learning_rates'; the settings are engine, curvature, ")
    assert ", ".join(setting_names()) in told
    with pytest.raises(InputError, match="There is no setting 'curvatur'; .* Did you mean 'curvature'[?]"):
        door(*more, curvatur="full")


ROUTINE_OF_GROUPS = ("standardize", "device", "memory_limit", "verify", "backend", "address", "worker_cpus")
TAKEN_BY_GROUPS = {*CHOSEN["objective"], *ROUTINE_OF_GROUPS, "divergence", "order"}


@pytest.mark.parametrize("name", ["engine", *sorted(set(setting_names()) - TAKEN_BY_GROUPS), "learning_rates"])
def test_groups_refuse_what_they_do_not_use(name):
    value = {name: each for part in CHOSEN.values() for name, each in part.items()}.get(name, "newton")
    with pytest.raises(InputError, match=name) as caught:
        lapsi.leave_group_out(np.eye(4), [0, 1, 0, 1], [0, 1, 2, 3], progress=False, **{name: value})
    assert all(taken in str(caught.value) for taken in TAKEN_BY_GROUPS)


def test_the_command_line_has_the_defaults_of_the_settings():
    assert to_settings({}) == make_settings()
    assert to_settings({"preset": "paper"}) == make_settings(recipe=Recipe())
    expected = DataSpec("digits").to_record()
    assert to_changed_spec({"source": "digits"}).to_record() == to_embed_spec({"source": "digits"}).to_record() == expected


def test_the_command_line_offers_every_setting_with_its_default():
    options, named = parameters("score"), {"recipe"}
    assert (set(setting_names()) - named) | set(defaults_of(Recipe)) <= set(options)
    for name, default in defaults_of(Recipe).items():
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        assert (options[name].default, options[name].show_default) == (shown, True)


def test_recipes_of_earlier_runs_may_hold_what_they_had_no_use_for():
    settings = make_settings(recipe=Recipe(optimizer="adam", epochs=7)).to_dict()
    settings["engine"]["recipe"] |= {"momentum": 0.5, "nesterov": False, "step_epochs": 3}
    assert settings_from_dict(settings).engine.recipe == Recipe(optimizer="adam", epochs=7)


def test_the_order_of_the_divergence():
    assert (make_settings().divergence, make_settings().order) == ("kl", 1.0)
    settings = make_settings(divergence="renyi", order=2)
    assert (settings.divergence, settings.order) == ("renyi", 2.0)
    assert settings_from_dict(settings.to_dict()) == settings
    older = {name: value for name, value in make_settings().to_dict().items() if name not in ("divergence", "order")}
    assert settings_from_dict(older) == make_settings()


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"order": 2}, "order is 2 but divergence is 'kl', which has none"),
        ({"divergence": "renyi"}, "divergence is 'renyi' without an order"),
        ({"divergence": "renyi", "order": 0}, "order is 0; expected"),
        ({"divergence": "hellinger"}, "divergence is 'hellinger'; expected one of 'kl', 'renyi'"),
        ({"divergence": "renyi", "order": 2, "curvature": "kfac", "engine": "retrain"}, "'kfac' of engine 'retrain'"),
    ],
)
def test_divergences_that_there_are_not(choices, message):
    with pytest.raises(InputError, match=message):
        make_settings(**choices)
