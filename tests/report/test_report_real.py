"""The report of real data in a browser: scikit-learn's digits, and 2,000 photographs where these are at hand."""

import csv
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

import lapsi
from browser import (
    INK_ON,
    PLOTS,
    chromium,
    click,
    count_of,
    drag,
    find,
    gallery,
    open_page,
    set_size,
    table_rows,
    wait,
    whole_lines,
)
from commands import run

DATA = Path(__file__).parents[3] / "shared" / "data"
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The demo."""
    output = tmp_path_factory.mktemp("demo") / "demo-run"
    result = run("demo", "-o", output, "--quiet")
    assert result.returncode == 0, result.stderr
    return output, output.with_name("demo-run.html")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """The photographs and human labels of CIFAR-10, with the features of a small network."""
    archive, features = DATA / "cifar10_images_2000.zip", DATA / "cifar10_squeezenet.npz"
    if not (archive.is_file() and features.is_file()):
        pytest.skip(f"{archive.name} and {features.name} are not at hand")
    folder = tmp_path_factory.mktemp("photographs")
    with zipfile.ZipFile(archive) as held:
        held.extractall(folder)
    table = pd.read_csv(folder / "labels.csv")
    with np.load(features) as arrays:
        X = arrays["features_train"][table["original_index"]][:, :96]  # enough to look at, quick to score
    columns = {"path": [str(folder / path) for path in table["path"]], "reference_label": table["label"]}
    scores = lapsi.score(X, table["human_label"], ids=table["path"], columns=columns, refine=0, verify=0, progress=False)
    scores.save(folder / "run")
    assert run("report", folder / "run", "--quiet").returncode == 0
    return folder / "run", folder / "run.html"


@pytest.mark.parametrize("which", ["digits", "photographs"])
def test_a_curator_works_through_it(which, request, tmp_path):
    path, page = request.getfixturevalue(which)
    scores = lapsi.load_run(path)
    n = len(scores)
    with chromium(tmp_path) as driver:
        set_size(driver, 1280)
        open_page(driver, page)
        for plot in PLOTS:
            assert driver.execute_script(INK_ON, plot) > 8, plot
        pictures = "return [...document.querySelectorAll('.sample img, .sample canvas')].length"
        assert driver.execute_script(pictures) >= 36
        assert count_of(driver) == n

        driver.execute_script("document.querySelector('[data-key=label_quality] button').click()")
        doubted = np.argsort(scores.table["label_quality"].to_numpy(), kind="stable")
        assert table_rows(driver)[:5] == doubted[:5].tolist()
        assert gallery(driver, "doubted") == doubted[: whole_lines(driver)].tolist()
        name = str(scores.classes[3])
        Select(find(driver, "#class-filter")).select_by_visible_text(name)
        wait(driver, lambda: count_of(driver) == (scores.table["label"].astype(str) == name).sum())
        Select(find(driver, "#class-filter")).select_by_index(0)
        drag(driver, "scatter", (0.1, 0.1), (0.5, 0.45))
        wait(driver, lambda: 0 < count_of(driver) < n)
        click(driver, find(driver, "#chips .chip"))
        wait(driver, lambda: count_of(driver) == n)

        card = driver.find_elements(By.CSS_SELECTOR, ".gallery.doubted .sample")[0]
        driver.execute_script("arguments[0].focus()", card)
        card.send_keys("2")
        open_page(driver, page)
        assert "1 sample reviewed: 1 relabel" in find(driver, "#progress").text
        click(driver, find(driver, "#download"))
        wait(driver, lambda: list(tmp_path.glob("review-*.csv")))
        assert driver.get_log("browser") == []
        for width in (360, 1920):
            set_size(driver, width)
            assert driver.execute_script("return document.scrollingElement.scrollWidth <= innerWidth"), width
    (review,) = tmp_path.glob("review-*.csv")
    with review.open(newline="", encoding="utf-8") as lines:
        (record,) = csv.DictReader(lines)
    assert int(record["row"]) == doubted[0]
    assert record["new_label"] == str(scores.table["suggested_label"][doubted[0]])
    assert run("apply", path, "--review", review, "-o", tmp_path / "cleaned.csv").returncode == 0
    cleaned = pd.read_csv(tmp_path / "cleaned.csv")
    assert len(cleaned) == n
    changed = cleaned["label"].astype(str).to_numpy() != scores.table["label"].astype(str).to_numpy()
    assert np.flatnonzero(changed).tolist() == [doubted[0]]
