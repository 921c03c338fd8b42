"""The README's commands and code, run as they stand."""

import re
from pathlib import Path

import pandas as pd
import pytest
import typer

import lapsi
from documents import ROOT, one_thread, read, run_command, steps, write_files
from lapsi.cli.main import app
from lapsi.data.extractors.base import DEFAULT_MODELS

README = read("README.md")
COMMANDS = [body for kind, body in steps(README) if kind == "lapsi"]


@pytest.fixture
def files(tmp_path, monkeypatch):
    write_files(tmp_path, monkeypatch)
    with one_thread():
        yield


@pytest.mark.slow
def test_commands(files):
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        run_command(command, *(["--force"] if " -o " in command else []))
    assert Path("scores.csv").is_file()


@pytest.mark.slow
def test_python_block(files, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
    assert "label_quality" in capsys.readouterr().out
    assert Path("digits-run/run.json").is_file()


def test_blocks_of_the_data_page(files):
    blocks = [body for kind, body in steps(read("docs/data.md")) if kind == "python"]
    assert len(blocks) == 2
    frame = pd.read_csv("reviews.csv")
    names = {"lapsi": lapsi, "texts": frame["review"].tolist(), "labels": frame["stars"], "authors": frame["author"]}
    code = "\n".join(blocks).replace("sentence-transformers/all-MiniLM-L6-v2", DEFAULT_MODELS["text"])
    exec(compile(code, "data.md", "exec"), names)
    assert names["scores"].carried == ["text", "group"]
    assert names["issues"].shape == (30,)


def test_the_table_of_options_tells_their_defaults():
    options = {parameter.opts[0]: parameter for parameter in typer.main.get_command(app).get_command(None, "score").params}
    rows = re.findall(r"^\| `(--[\w-]+)`(?:, `--[\w-]+`)* \|.*\| (.+) \|$", README, flags=re.MULTILINE)
    n_compared = 0
    for option, told in rows:
        default = options[option].default
        if isinstance(default, bool):
            assert told == ("on" if default else "off")
        elif default:
            assert told.strip("`").startswith(str(default)), option
            n_compared += 1
    assert n_compared >= 7


def test_targets_and_files_exist():
    makefile = read("Makefile")
    for target in re.findall(r"\$ make (\w+)", README):
        assert f"\n{target}:" in makefile
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
