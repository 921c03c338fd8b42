"""The commands and Python blocks of the documentation, run in the order of each page on small data."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.datasets

import lapsi
from documents import ROOT, one_thread, read, run_command, steps, write_files
from lapsi.data.extractors.base import DEFAULT_MODELS
from lapsi.data.readers import catalog

PAGES = ["index.md", "tutorial.md", *(f"howto/{page.name}" for page in sorted((ROOT / "docs/howto").glob("*.md")))]
READS_A_RUN = {"howto/other-tools.md", "howto/report.md"}
DIGITS = 120
load_all_digits = sklearn.datasets.load_digits


def load_few_digits(*, n_class=10, return_X_y=False):
    digits = load_all_digits(n_class=n_class)
    for name in ("data", "images", "target"):
        digits[name] = digits[name][:DIGITS]
    return (digits.data, digits.target) if return_X_y else digits


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(sklearn.datasets, "load_digits", load_few_digits)
    monkeypatch.setattr(catalog, "load_digits", load_few_digits)
    write_files(tmp_path, monkeypatch)
    with one_thread():
        yield


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_page(files, page):
    names = {"lapsi": lapsi, "X": np.load("X.npy"), "y": np.load("y.npy")}
    if page in READS_A_RUN:
        columns = {"path": [f"{row}.png" for row in range(len(names["X"]))]}
        names["scores"] = lapsi.score(names["X"], names["y"], columns=columns, verify=0, progress=False)
        names["scores"].save("run")
        names["data"] = pd.read_csv("data.csv")
    for kind, body in steps(read(f"docs/{page}")):
        if kind == "python":
            exec(compile(body, page, "exec"), names)
        else:
            run_command(body.replace("google/mobilenet_v2_1.0_224", DEFAULT_MODELS["image"]))
    if page == "tutorial.md":
        assert Path("cleaned.csv").is_file()
        assert len(names["chosen"]) == len(np.load("indices.npy"))


def test_all_pages_of_how_to_have_something_to_run():
    for page in PAGES:
        assert steps(read(f"docs/{page}")), page


def test_every_block_says_what_it_is():
    for page in (ROOT / "docs").rglob("*.md"):
        fences = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("```")]
        opening = set(fences[::2])
        assert opening <= {"```python", "```console", "```text"}, page
