"""The report of numbers, of several labels a sample, and of texts, in a browser."""

import csv
import re

import numpy as np
import pandas as pd
import pytest
from selenium.webdriver import Keys
from selenium.webdriver.support.ui import Select

from browser import (
    INK_ON,
    PLOTS,
    chromium,
    click,
    count_of,
    drag,
    find,
    find_all,
    gallery,
    open_page,
    set_size,
    table_rows,
    wait,
    whole_lines,
)
from commands import run
from lapsi.report.page import write_report
from runs_of_targets import digits_as_bits, numbers, sentences

OF_CLASSES = re.compile(r"class|accura|label|confidence|margin", re.IGNORECASE)
SEEN = """
const seen = [document.title, document.body.innerText];
for (const node of document.querySelectorAll('[title], [aria-label], [placeholder], option')) {
  for (const name of ['title', 'aria-label', 'placeholder']) seen.push(node.getAttribute(name) ?? '');
  seen.push(node.textContent);
}
return seen.join('\\n');
"""
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(downloads):
    with chromium(downloads) as driver:
        driver.set_script_timeout(20)
        yield driver


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of one and two numbers, of labels and of texts, each with its page."""
    folder, made = tmp_path_factory.mktemp("runs"), {}
    for name, scores in (("one", numbers(1)), ("two", numbers(2)), ("labels", digits_as_bits()), ("texts", sentences())):
        scores.save(folder / name)
        write_report(scores, folder / f"{name}.html")
        made[name] = (scores, folder / name, folder / f"{name}.html")
    return made


@pytest.fixture
def opened(browser, runs):
    def open_one(name):
        set_size(browser, 1280)
        open_page(browser, runs[name][2])
        browser.execute_script("localStorage.clear()")
        open_page(browser, runs[name][2])
        browser.get_log("browser")
        return browser, runs[name][0]

    return open_one


def plots_of(name):
    return {"labels": PLOTS, "texts": ("histogram", "classes", "scatter")}.get(name, (*PLOTS, "fit"))


@pytest.mark.parametrize("name", ["one", "two", "labels", "texts"])
def test_every_plot_is_drawn_and_brushed(opened, name):
    driver, scores = opened(name)
    for plot in plots_of(name):
        assert driver.execute_script(INK_ON, plot) > 8, plot
        drag(driver, plot, *(((0.4, 0.1), (0.8, 0.2)) if plot == "classes" else ((0.4, 0.3), (0.8, 0.7))))
        wait(driver, lambda: count_of(driver) < len(scores))
        assert len(gallery(driver, "highest")) == min(whole_lines(driver), count_of(driver))
        click(driver, find(driver, "#chips .chip"))
        wait(driver, lambda: count_of(driver) == len(scores))
    assert driver.get_log("browser") == []


@pytest.mark.parametrize("name", ["one", "two", "labels", "texts"])
@pytest.mark.parametrize("width", [360, 1024, 1920])
def test_nothing_is_wider_than_the_window(browser, runs, name, width):
    set_size(browser, width)
    open_page(browser, runs[name][2])
    assert browser.execute_script("return document.scrollingElement.scrollWidth <= innerWidth")
    browser.execute_script("document.querySelector('.sample').click()")
    assert browser.execute_script("const d = document.querySelector('#detail'); return d.scrollWidth <= d.clientWidth")


@pytest.mark.parametrize("name", ["one", "two"])
def test_numbers_are_told_in_no_word_of_classification(opened, name):
    driver, scores = opened(name)
    driver.execute_script("document.querySelector('details').open = true")
    seen = [driver.execute_script(SEEN)]
    for plot in plots_of(name):
        drag(driver, plot, (0.4, 0.3), (0.8, 0.7))
        wait(driver, lambda: count_of(driver) < len(scores))
        seen.append(driver.execute_script(SEEN))
        click(driver, find(driver, "#chips .chip"))
    for card in ("lowest", "doubted"):
        driver.execute_script(f"document.querySelector('.gallery.{card} .sample').click()")
        find(driver, "#detail").send_keys("2", "4")
        seen.append(driver.execute_script(SEEN))
        find(driver, "#detail").send_keys(Keys.ESCAPE)
    text = "\n".join(seen)
    assert "target" in text
    assert "prediction" in text
    assert sorted({line for line in text.splitlines() if OF_CLASSES.search(line)}) == []


def test_quarters_and_quadrants_of_numbers(opened):
    driver, scores = opened("one")
    table = scores.table
    Select(find(driver, "#class-filter")).select_by_index(4)
    wait(driver, lambda: count_of(driver) == (table["label"] > table["label"].quantile(0.75)).sum())
    assert all(table["label"][row] > table["label"].quantile(0.75) for row in table_rows(driver))
    click(driver, find(driver, "#chips .plain"))
    wait(driver, lambda: count_of(driver) == len(scores))
    buttons = {button.text.split("\n")[0]: button for button in find_all(driver, "#quadrants button")}
    assert set(buttons) == {"typical", "noisy", "influential", "suspect"}
    high = scores.lsi >= np.quantile(scores.lsi, 0.75)
    far = table["loo_deviation"].abs() >= 2
    for name, members in (("suspect", high & far), ("influential", high & ~far), ("typical", ~high & ~far)):
        click(driver, buttons[name])
        wait(driver, lambda members=members: count_of(driver) == members.sum())
    click(driver, buttons["typical"])
    Select(find(driver, "#kind-filter")).select_by_visible_text("doubted targets")
    wait(driver, lambda: count_of(driver) == table["suggested_label"].notna().sum() > 0)


def download(driver, folder):
    for old in folder.iterdir():
        old.unlink()
    click(driver, find(driver, "#download"))
    wait(driver, lambda: list(folder.glob("review-*.csv")))
    (file,) = folder.glob("review-*.csv")
    with file.open(newline="", encoding="utf-8") as lines:
        return file, list(csv.DictReader(lines))


def press(driver, name, row, key):
    card = find(driver, f".gallery.{name} [data-row='{row}']")
    driver.execute_script("arguments[0].focus()", card)
    card.send_keys(key)


def test_numbers_are_changed_and_applied(opened, runs, downloads, tmp_path):
    driver, scores = opened("one")
    accepted, typed = gallery(driver, "doubted")[:2]
    press(driver, "doubted", accepted, "2")
    driver.execute_script(f"document.querySelector(\".gallery.doubted [data-row='{typed}']\").click()")
    field = find(driver, "#detail .new-target input")
    field.send_keys("twelve", Keys.TAB)
    assert "“twelve” is not a finite number" in find(driver, "#detail .problem").text
    field.clear()
    field.send_keys("123.5", Keys.TAB)
    assert "change to 123.5" in find(driver, "#detail").text
    find(driver, "#detail").send_keys(Keys.ESCAPE)
    assert "2 samples reviewed: 2 change" in find(driver, "#progress").text
    file, records = download(driver, downloads)
    assert [record["action"] for record in records] == ["relabel", "relabel"]
    applied = run("apply", runs["one"][1], "--review", file, "-o", tmp_path / "cleaned.parquet")
    assert "2 changed" in applied.stdout, applied.stderr
    cleaned = pd.read_parquet(tmp_path / "cleaned.parquet")
    expected = scores.table["label"].copy()
    expected[accepted], expected[typed] = scores.table["suggested_label"][accepted], 123.5
    np.testing.assert_array_equal(cleaned["label"], expected)


def test_several_numbers_are_changed_one_by_one(opened, runs, downloads, tmp_path):
    driver, scores = opened("two")
    row = gallery(driver, "doubted")[0]
    driver.execute_script(f"document.querySelector(\".gallery.doubted [data-row='{row}']\").click()")
    find_all(driver, "#detail .new-target input")[1].send_keys("-7.25", Keys.TAB)
    find(driver, "#detail").send_keys(Keys.ESCAPE)
    file, _ = download(driver, downloads)
    applied = run("apply", runs["two"][1], "--review", file, "-o", tmp_path / "cleaned.parquet")
    assert applied.returncode == 0, applied.stderr
    cleaned = pd.read_parquet(tmp_path / "cleaned.parquet")
    assert cleaned["label_mass"][row] == -7.25
    np.testing.assert_array_equal(cleaned["label_progression"], scores.table["label_progression"])
    np.testing.assert_array_equal(cleaned["original_label_mass"], scores.table["label_mass"])
    Select(find(driver, "#fit-output")).select_by_visible_text("mass")
    assert driver.execute_script(INK_ON, "fit") > 8
    assert driver.get_log("browser") == []


def test_labels_filter_by_state_and_by_doubt(opened):
    driver, scores = opened("labels")
    given = scores.table["label"].str.split("|").map(set)
    found = scores.table["loo_label"].str.split("|").map(set)
    Select(find(driver, "#class-filter")).select_by_visible_text("bit 1")
    wait(driver, lambda: count_of(driver) == sum("bit 1" in each for each in given))
    click(driver, find(driver, "#chips .plain"))
    Select(find(driver, "#second-filter")).select_by_visible_text("bit 2")
    doubted = [("bit 2" in a) != ("bit 2" in b) for a, b in zip(given, found, strict=True)]
    wait(driver, lambda: count_of(driver) == sum(doubted) > 0)
    assert all(doubted[row] for row in table_rows(driver))
    row = gallery(driver, "doubted")[0]
    face = find(driver, f".gallery.doubted [data-row='{row}'] .labels").text
    changed = given[row] ^ found[row]
    assert all(f"{'−' if name in given[row] else '+'} {name}" in face for name in changed)
    driver.execute_script(f"document.querySelector(\".gallery.doubted [data-row='{row}']\").click()")
    said = find(driver, "#detail .predictions").text
    for k in range(4):
        assert f"bit {k} ({'given' if f'bit {k}' in given[row] else 'not given'})" in said
    assert driver.get_log("browser") == []


def test_labels_are_changed_as_a_set_and_applied(opened, runs, downloads, tmp_path):
    driver, scores = opened("labels")
    accepted, typed = gallery(driver, "doubted")[:2]
    press(driver, "doubted", accepted, "2")
    agreed = next(row for row in gallery(driver, "lowest") if scores.table["suggested_label"].isna()[row])
    press(driver, "lowest", agreed, "2")  # there is no suggestion, so it asks
    for box in find_all(driver, "#detail .boxes input"):
        if box.is_selected():
            click(driver, box)
    assert find(driver, "#detail .mark-text").text in ("relabel as (none)", "")
    find(driver, "#detail").send_keys(Keys.ESCAPE)
    driver.execute_script(f"document.querySelector(\".gallery.doubted [data-row='{typed}']\").click()")
    boxes = find_all(driver, "#detail .boxes input")
    states = [box.is_selected() for box in boxes]
    click(driver, boxes[3])
    find(driver, "#detail").send_keys(Keys.ESCAPE)
    file, _ = download(driver, downloads)
    applied = run("apply", runs["labels"][1], "--review", file, "-o", tmp_path / "cleaned.parquet")
    assert applied.returncode == 0, applied.stderr
    cleaned = pd.read_parquet(tmp_path / "cleaned.parquet")["label"]
    states[3] = not states[3]
    assert cleaned[typed] == "|".join(f"bit {k}" for k in range(4) if states[k])
    assert cleaned[accepted] == scores.table["suggested_label"][accepted]
    unchanged = [row for row in range(400) if row not in (accepted, typed, agreed)]
    assert (cleaned == scores.table["label"])[unchanged].all()
    assert cleaned[agreed] == ""


def test_texts_filter_by_length_and_tell_their_perplexity(opened):
    driver, scores = opened("texts")
    table = scores.table
    hardest = int(table["loo_loss"].to_numpy().argmax())
    assert gallery(driver, "doubted")[0] == hardest
    driver.execute_script("document.querySelector('.gallery.doubted .sample').click()")
    detail = find(driver, "#detail")
    assert table["text"][hardest] in detail.text
    assert f"{table['loo_label'][hardest]:.3g}" in detail.text
    assert f"{table['label'][hardest]} tokens" in detail.text
    detail.send_keys(Keys.ESCAPE)
    name, members = scores.evidence.parts(table, scores.outputs)[0]
    assert 0 < len(members) < len(table)
    (lengths,) = [each for each in find_all(driver, "select") if name in [option.text for option in Select(each).options]]
    Select(lengths).select_by_visible_text(name)
    wait(driver, lambda: count_of(driver) == len(members))
    assert driver.get_log("browser") == []
