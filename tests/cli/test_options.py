"""Options of the command line, made from the fields of the settings."""

from dataclasses import fields

import pytest
import typer

import lapsi
from commands import run
from lapsi.cli.commands.embed import embed
from lapsi.cli.commands.score import score
from lapsi.cli.generated import Part, read, with_options
from lapsi.cli.options import to_changed_spec, to_settings
from lapsi.data.readers.columns import Columns
from lapsi.data.spec import DataSpec
from lapsi.settings.corruption import Corruption
from lapsi.settings.engine import Newton, Retrain
from lapsi.settings.execution import Execution
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.model import ModelSpec
from lapsi.settings.objective import ObjectiveSpec
from lapsi.settings.option import RULE, Choice, Integer, Number, Numbers, Size, Words
from lapsi.settings.recipe import Recipe
from lapsi.settings.settings import Settings

KINDS = (
    Columns,
    ExtractorSettings,
    DataSpec,
    Corruption,
    Settings,
    ModelSpec,
    ObjectiveSpec,
    Newton,
    Retrain,
    Recipe,
    Execution,
)
KNOWN = {  # names that users know
    "score": """--activation --address --backend --batch-size --batching --betas --cache --class-names --class-weight
        --clip-norm --converge --corruption-seed --coupled --curvature --data-dir --device --divergence --drop --dry-run --dtype
        --embed-batch-size --embed-dtype --engine --epochs --epsilon --every --feature-prefix --features --flip-labels
        --force --group --hidden --human-labels --ids --images --indices --json --keep --labels --learning-rate
        --limit --measures --lorem-ipsum --max-tokens --memory-limit --model --momentum --nesterov --no-nesterov --no-normalize
        --noise --noise-classes --noise-multiplier --noise-removal --noise-variance --normalize --optimizer --order --output
        --pooling --preset --prior-precision --quiet --reference-labels --refine --removal --restart --resume
        --sam-radius --schedule --seed --seeds --skip-bad --split --split-column --standardize --step-epochs
        --step-factor --task --texts --tolerance --verify --weight-decay --weights --worker-cpus --rows --to -o -q""",
    "embed": """--address --backend --batch-size --cache --class-names --data-dir --device --dtype --force --group --ids
        --images --json --keep --labels --max-tokens --model --no-normalize --normalize --output --pooling --quiet
        --reference-labels --skip-bad --split --split-column --task --texts --weights --worker-cpus --rows --to -o -q""",
}


def parameters(command):
    app = typer.Typer(add_completion=False)
    app.command()(command)
    return {each.name: each for each in typer.main.get_command(app).params}


def flags(command):
    return {flag for each in parameters(command).values() for flag in [*each.opts, *each.secondary_opts] if flag[:1] == "-"}


@pytest.mark.parametrize("command", [score, embed], ids=["score", "embed"])
def test_names_that_users_know_stay(command):
    assert flags(command) - {"--help"} == set(KNOWN[command.__name__].split())


def test_every_field_is_an_option_with_its_default():
    made = parameters(score)
    for kind in KINDS:
        for flag, each in Part(kind).flags().items():
            option = made[flag.replace("-", "_")]
            assert option.help == each.metadata["help"] != ""
            if isinstance(each.default, int | float | str):
                assert option.default == each.default


def test_nothing_typed_is_every_default():
    assert to_settings({}) == Settings()
    assert to_changed_spec({"source": "x"}).to_record() == DataSpec("x").to_record()
    for kind in KINDS:
        assert Part(kind).values({}) == {}


@pytest.mark.parametrize(
    ("rule", "text", "value"),
    [
        (Choice(("a", "b"), optional=True), "auto", None),
        (Choice(("a", "b")), "b", "b"),
        (Number(word="map"), "map", "map"),
        (Number(word="map"), "0.5", 0.5),
        (Integer(word="auto"), "3", 3),
        (Numbers(Integer(1), ""), "64,32", (64, 32)),
        (Numbers(Integer(1), ""), "", ()),
        (Numbers(Number(), ""), "0.8, 0.99", (0.8, 0.99)),
        (Words(), "age, place,", ("age", "place")),
        (Size(), "8G", 8 * 2**30),
        (Size(), "500MiB", 500 * 2**20),
        (Size(), "1.5kb", 1536),
        (Size(), "12", 12),
        (Number(), 3.0, 3.0),
    ],
)
def test_text_becomes_values(rule, text, value):
    assert read(rule, text, "--x") == value


@pytest.mark.parametrize(
    ("rule", "text", "message"),
    [
        (Number(word="map"), "huge", "--x is 'huge'; expected 'map' or a number"),
        (Integer(word="auto"), "1.5", "--x is '1.5'; expected 'auto' or a number"),
        (Numbers(Integer(1), ""), "8,", "--x is '8,'; expected numbers with commas"),
        (Size(), "much", "--x is 'much'; expected a size"),
    ],
)
def test_text_that_is_no_value_is_refused(rule, text, message):
    with pytest.raises(lapsi.InputError, match=message):
        read(rule, text, "--x")


def test_only_what_is_typed_arrives_and_shared_names_are_one_option():
    got = []

    def command(source: str, options: dict) -> None:
        got.append((source, options))

    app = typer.Typer(add_completion=False)
    app.command()(with_options(Part(Execution), Part(ExtractorSettings), Part(Recipe))(command))
    app(["x", "--device", "cuda", "--no-nesterov", "--dtype", "auto", "--embed-batch-size", "32"], standalone_mode=False)
    assert got == [("x", {"device": "cuda", "nesterov": False, "dtype": "auto", "embed_batch_size": 32})]
    options = got[0][1]
    assert Part(Execution).make(options) == Execution(device="cuda")
    assert Part(ExtractorSettings).make(options) == ExtractorSettings(device="cuda")
    assert Part(ExtractorSettings, own_names=True).values({"batch_size": 8, "dtype": "float16"}) == {
        "batch_size": 8,
        "dtype": "float16",
    }


def test_help_shows_kinds_defaults_and_panels(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = run("score", "--help").stdout
    defaults = ("[default: 0.9,0.999]", "[default: 0.04]")
    for words in ("auto|float32|float64", "map|NUMBER", "SIZE", "auto|each|one|none", *defaults):
        assert words in text, words
    for panel in ("Images and texts", "Change the data on purpose first", "Probe and engine", "Training recipe"):
        assert f"─ {panel}" in text


def test_every_field_but_parts_and_what_is_no_text_is_an_option():
    without = {f"{kind.__name__}.{each.name}" for kind in KINDS for each in fields(kind) if RULE not in each.metadata}
    parts = {"DataSpec.columns", "DataSpec.corruption", "DataSpec.extractor", "Retrain.recipe"}
    parts |= {f"Settings.{name}" for name in ("engine", "execution", "model", "objective")}
    assert without == parts | {"Corruption.human_labels", "DataSpec.source", "DataSpec.shards"}
