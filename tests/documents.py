"""Documents as the tests run them: their commands and Python blocks in order, and the small files that these read."""

import re
import shlex
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from sklearn.datasets import load_iris

from commands import run
from lapsi.data.extractors.base import DEFAULT_MODELS
from tiny_models import save_bert, save_vision

ROOT = Path(__file__).parents[1]


def read(name):
    """A document of the project."""
    return (ROOT / name).read_text(encoding="utf-8")


def steps(text):
    """Its blocks in order: ("python", code), and ("lapsi", command) for each line of a console that calls lapsi."""
    found = []
    for kind, body in re.findall(r"^```(python|console)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        if kind == "python":
            found.append((kind, body))
        else:
            lines = body.replace("\\\n", " ").splitlines()
            found += [("lapsi", line.split("#")[0].strip("$ ")) for line in lines if line.startswith("$ lapsi")]
    return found


def run_command(command, *more):
    """Runs a command as it stands, with more arguments; it must succeed."""
    result = run(*shlex.split(command)[1:], *more)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result


@contextmanager
def one_thread():
    """One thread of torch inside: on data so small more of them only wait for each other."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)


def write_files(folder, monkeypatch):
    """Goes to `folder` and writes what the commands read; small random models stand for the paper's extractors."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LAPSI_CACHE", str(folder / "cache"))
    monkeypatch.setitem(DEFAULT_MODELS, "image", save_vision("resnet", folder / "resnet"))
    monkeypatch.setitem(DEFAULT_MODELS, "text", save_bert(folder / "bert"))
    rng = np.random.default_rng(0)
    kinds = np.array(["cat", "dog"] * 15)
    paths = [f"photos/{kind}/{row}.png" for row, kind in enumerate(kinds)]
    for path, kind in zip(paths, kinds, strict=True):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 120, (8, 8, 3), dtype=np.uint8) + np.uint8(kind == "cat")).save(path)
    pd.DataFrame({"file": paths, "label": kinds, "second_opinion": kinds[::-1]}).to_csv("photos.csv", index=False)
    texts = [" ".join(rng.choice(["good", "bad", "dull", "film"], 4)) for _ in range(30)]
    pd.DataFrame({"review": texts, "stars": np.arange(30) % 5, "author": np.arange(30) % 3}).to_csv("reviews.csv", index=False)
    write_people()
    X, y = load_iris(return_X_y=True)
    np.savez("features.npz", features=X, labels=y)
    np.save("X.npy", X)
    np.save("y.npy", y)
    np.save("rows.npy", np.arange(10))
    for folder_of, kind in (("shards", "parquet"), ("halves", "npy")):
        Path(folder_of).mkdir()
        for part, rows in enumerate((slice(0, 70), slice(70, 150))):
            if kind == "npy":
                np.save(f"{folder_of}/features-{part}.npy", X[rows].astype(np.float16))
                np.save(f"{folder_of}/labels-{part}.npy", y[rows])
            else:
                table = pd.DataFrame({"features": list(X[rows]), "label": y[rows]})
                table.to_parquet(f"{folder_of}/part-{part}.{kind}")
    pd.DataFrame({"value": range(150)}).to_csv("data.csv", index=False)
    names = [f"flower {row}" for row in range(150)]
    pd.DataFrame(X, columns=["f0", "f1", "f2", "f3"]).assign(species=y, name=names).to_parquet("table.parquet")
    named = pd.DataFrame(X, columns=["f_0", "f_1", "f_2", "f_3"])
    named.assign(price=X @ [1.0, 2, 0, 1] + rng.normal(size=150)).to_csv("houses.csv", index=False)
    named.assign(tags=[["big"], ["big", "red"], ["red", "old"]] * 50).to_parquet("tags.parquet")


def write_people():
    """A table as people have it: an id, numbers, categories, dates, gaps, texts and a constant column."""
    rng, rows = np.random.default_rng(0), np.arange(60)
    rich = rows % 3 == 0
    table = {
        "person_id": [f"p{row}" for row in rows],
        "age": np.where(rows == 5, np.nan, rng.integers(20, 50, 60) + 12.0 * rich),
        "work": rng.choice(["state", "private", "own"], 60),
        "joined": pd.date_range("2019-12-30", periods=60).strftime("%d %b %Y"),
        "notes": [" ".join(rng.choice(["good", "bad", "film", "dull"], 5)) + f" {row}" for row in rows],
        "household": rows // 2,
        "country": "US",
        "married": rng.random(60) < 0.5,
        "income": np.where(rich, ">50K", "<=50K"),
    }
    pd.DataFrame(table).to_csv("people.csv", index=False)
