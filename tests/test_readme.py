"""The README's commands and code, run as they stand."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_iris

import lapsi
from commands import run
from lapsi.features.extractor import DEFAULT_MODELS
from tiny_models import save_bert, save_vision

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line.split("#")[0].strip("$ ") for line in README.splitlines() if line.startswith("$ lapsi")]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """What the README's commands read; small random models stand for the paper's extractors."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAPSI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(DEFAULT_MODELS, "image", save_vision("resnet", tmp_path / "resnet"))
    monkeypatch.setitem(DEFAULT_MODELS, "text", save_bert(tmp_path / "bert"))
    rng = np.random.default_rng(0)
    kinds = np.array(["cat", "dog"] * 15)
    paths = [f"photos/{kind}/{row}.png" for row, kind in enumerate(kinds)]
    for path, kind in zip(paths, kinds, strict=True):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 120, (8, 8, 3), dtype=np.uint8) + np.uint8(kind == "cat")).save(path)
    pd.DataFrame({"file": paths, "label": kinds, "second_opinion": kinds[::-1]}).to_csv("photos.csv", index=False)
    texts = [" ".join(rng.choice(["good", "bad", "dull", "film"], 4)) for _ in range(30)]
    pd.DataFrame({"review": texts, "stars": np.arange(30) % 5, "author": np.arange(30) % 3}).to_csv("reviews.csv", index=False)
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


def test_blocks_of_the_data_page(files):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/data.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert len(blocks) == 2
    frame = pd.read_csv("reviews.csv")
    names = {"lapsi": lapsi, "texts": frame["review"].tolist(), "labels": frame["stars"], "authors": frame["author"]}
    code = "\n".join(blocks).replace("sentence-transformers/all-MiniLM-L6-v2", DEFAULT_MODELS["text"])
    exec(compile(code, "data.md", "exec"), names)
    assert names["scores"].carried == ["text", "group"]
    assert names["issues"].shape == (30,)


def test_targets_and_files_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"\$ make (\w+)", README):
        assert f"\n{target}:" in makefile
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link
