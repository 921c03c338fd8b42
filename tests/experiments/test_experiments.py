"""Every experiment runs from its command line to figure, numbers and verdicts at a tiny size, on what is built in."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from documents import one_thread
from experiments import __main__ as everything
from experiments import base
from experiments.catalogue import EXPERIMENTS
from experiments.page import write_page
from experiments.verdicts import WAYS, WORDS
from lapsi.errors import InputError

NOT_HERE = {"human_labels", "times", "probe_vs_network"}  # which so little data cannot test
SAID_TO_LEARN = {"distributions", "label_noise", "class_informativeness"}  # whose claims are plain enough for 150 digits


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """A folder in which every experiment has run."""
    return tmp_path_factory.mktemp("results")


def run(name, folder, *more):
    """Runs an experiment as its module does; returns what it wrote."""
    with one_thread():
        base.main(EXPERIMENTS[name], ["--scale", "tiny", "--to", str(folder), *more])
    text = (folder / f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiment(results, name, capsys):
    record = run(name, results)
    assert (record["name"], record["scale"]) == (name, "tiny")
    assert record["numbers"]["data"]
    assert record["verdicts"]
    for verdict in record["verdicts"]:
        assert verdict["word"] in WORDS
        assert verdict["recipe"] in WAYS
        assert verdict["claim"]
        assert verdict["paper"]
        assert verdict["why"]
    assert {verdict["word"] for verdict in record["verdicts"]} != {WORDS[-1]} or name in NOT_HERE
    if name in SAID_TO_LEARN:
        assert record["verdicts"][0]["word"] == "holds"
    assert capsys.readouterr().out.startswith(record["verdicts"][0]["word"])
    with Image.open(results / f"{name}.png") as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(10**6)) > 5
    assert (results / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    assert not (results / f"{name}.parts").exists()


@pytest.mark.slow
def test_the_same_numbers_again(tmp_path):
    first, second = (run("label_noise", tmp_path / folder)["numbers"] for folder in "ab")
    assert first == second


@pytest.mark.slow
def test_what_is_done_is_not_done_again(tmp_path, monkeypatch):
    calls = []

    def measure(setup):
        calls.append(setup.scale)
        return {"data": "made up", "value": np.float64(0.5), "unknown": math.nan}

    made = base.Experiment("made", "Figure 0", "?", 1.0, measure, lambda numbers: (), lambda numbers: base.Figure())

    def go(experiment=made, again=False, scale="tiny", data=None):
        setup = base.Setup(data, scale, tmp_path / "made.parts", lambda line: None)
        return base.run(experiment, setup, tmp_path, again)

    assert go()["numbers"] == {"data": "made up", "value": 0.5, "unknown": None}
    go()
    assert calls == ["tiny"]
    go(again=True)
    go(scale="small")
    assert calls == ["tiny", "tiny", "small"]
    go(scale="small")
    folder = tmp_path / "data"
    folder.mkdir()
    go(scale="small", data=folder)
    assert len(calls) == 3
    (folder / "more.npz").write_bytes(b"0")
    go(scale="small", data=folder)
    assert len(calls) == 4
    (tmp_path / "made.json").write_text("{", encoding="utf-8")
    go()
    assert len(calls) == 5
    go(scale="medium")
    go(scale="small")
    assert calls[5:] == ["medium"]


def test_a_run_that_fails_leaves_nothing_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    def refuse(setup):
        raise InputError("No data.")

    bad, good = (
        base.Experiment(name, "Figure 0", "?", 1.0, measure, lambda numbers: (), lambda numbers: base.Figure())
        for name, measure in (("bad", refuse), ("good", lambda setup: {"data": "d"}))
    )
    monkeypatch.setattr(everything, "EXPERIMENTS", {"bad": bad, "good": good})
    assert everything.main(["--scale", "tiny", "--to", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "not run: No data." in told
    assert not (tmp_path / "bad.json").exists()
    assert (tmp_path / "good.json").is_file()
    assert everything.main(["--scale", "tiny", "--to", str(tmp_path), "--only", "good"]) == 0
    assert "done already" in capsys.readouterr().out


def test_an_unknown_name_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        everything.main(["--only", "nothing", "--to", str(tmp_path)])
    assert "there is no experiment 'nothing'" in capsys.readouterr().err


def test_full_scale_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.delenv("LAPSI_DATA", raising=False)
    with pytest.raises(SystemExit, match=r"holds no files of imagenette; unpack .*imagenette2"):
        base.main(EXPERIMENTS["trak"], ["--scale", "full", "--data", str(tmp_path), "--to", str(tmp_path / "to")])
    assert not (tmp_path / "to" / "trak.json").exists()


@pytest.mark.slow
def test_page(results, tmp_path):
    run("label_noise", results)
    run("dataset_size", results)
    page = tmp_path / "docs" / "paper.md"
    write_page(results, page)
    text = page.read_text(encoding="utf-8")
    record = json.loads((results / "label_noise.json").read_text(encoding="utf-8"))
    assert "## Figure 5: Do samples with flipped labels have higher LSI?" in text
    assert "![Do samples with flipped labels have higher LSI?](images/paper/label_noise.png)" in text
    for verdict in record["verdicts"]:
        assert f"**{verdict['word']}**" in text
        assert verdict["why"] in text
    assert text.index("## Figure 5") < text.index("## Figure 15")
    assert "python -m experiments.label_noise --scale tiny" in text
    assert 1000 < (tmp_path / "docs/images/paper/label_noise.png").stat().st_size < 100_000
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {5, 7}


def test_a_page_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no results"):
        write_page(tmp_path, tmp_path / "paper.md")
