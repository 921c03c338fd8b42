"""The README's commands and code, run as they stand."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_iris

from commands import run

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.split("#")[0].strip("$ ") for line in README.splitlines() if line.startswith("$ lapsi")]


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X, y = load_iris(return_X_y=True)
    np.savez("features.npz", features=X, labels=y)
    np.save("X.npy", X)
    np.save("y.npy", y)
    names = [f"flower {row}" for row in range(150)]
    pd.DataFrame(X, columns=["f0", "f1", "f2", "f3"]).assign(species=y, name=names).to_parquet("table.parquet")


def test_commands(files):
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        arguments = shlex.split(command)[1:]
        if "-o" in arguments:
            arguments.append("--force")
        result = run(*arguments)
        assert result.returncode == 0, f"{command}: {result.stderr}"
    assert Path("scores.csv").is_file()


def test_python_block(files, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(block, "README.md", "exec"), {})
    assert "label_quality" in capsys.readouterr().out
    assert Path("digits-run/run.json").is_file()


def test_targets_and_files_exist():
    root = Path(__file__).parents[1]
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\$ make (\w+)", README):
        assert f"\n{target}:" in makefile
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (root / link).exists(), link
