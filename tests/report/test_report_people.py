"""What a person meets on the page: where values stand, texts without markup, second labels, filters by any column."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select
from test_report import Document, unpack

import lapsi
from browser import chromium, count_of, find, find_all, gallery, open_page, set_size, table_rows, wait
from lapsi.analysis.label_issues import label_issues
from lapsi.report.kinds.choose import view_of
from lapsi.report.markup import readable
from lapsi.report.words import describe
from runs_for_reports import make_scores

N = 90


@pytest.fixture(scope="module")
def people():
    """A table of numbers and words whose labels are given by the first column, with a second opinion."""
    generator = np.random.default_rng(3)
    age, city = generator.normal(40, 9, N).round(1), generator.choice(["Bern", "Oslo"], N)
    frame = pd.DataFrame({"age": age, "city": city, "income": generator.normal(size=N)})
    label = np.where(age + generator.normal(0, 3, N) > 40, "old", "young")
    other = np.where(np.arange(N) % 9 == 0, "old", label)
    return lapsi.score(
        frame, label, columns={"group": np.arange(N) % 3, "reference_label": other}, refine=0, verify=0, progress=False
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One.<br /><br />Two &amp; <b>three</b>", "One.\nTwo & three"),
        ("<p class='x'>A  b</p><P>c</P>", "A b\nc"),
        ("if a <b and c> d: x < y > z", "if a <b and c> d: x < y > z"),
        ("two  spaces\n\n kept", "two  spaces\n\n kept"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("&lt;br&gt;", "<br>"),
    ],
)
def test_texts_are_read_without_markup(text, expected):
    assert readable(text) == expected


def test_texts_stand_whole_where_there_is_room(tmp_path):
    texts = [f"{'word ' * 2000}<br />end {row}" for row in range(20)]
    path = tmp_path / "run.html"
    make_scores(20, columns={"text": texts}).report(path)
    page = Document(path)
    assert page.json("column-data")["texts"][7].endswith("word\nend 7")
    assert not any("Texts are cut" in text for text in page.text)


@pytest.mark.parametrize(
    ("n_classes", "line", "words"), [(2, 1 / 3, "33.3%, where the other"), (4, 1 / 4, "25%, a blind guess,")]
)
def test_one_notion_of_a_doubted_label(n_classes, line, words):
    scores = make_scores(400, n_classes=n_classes, columns={"group": np.arange(400) % 2})
    doubted = scores.table["label_quality"] < line
    assert_array_equal(scores.doubted, doubted)
    issues = label_issues(scores)
    assert issues.n_flagged == doubted.sum() < scores.table["suggested_label"].notna().sum()
    assert (f"{doubted.sum()}", f"labels doubted ({doubted.mean():.1%})") in describe(scores).figures
    assert scores.summary().loc["all", "doubted"] == doubted.sum()
    lines = view_of(scores).quadrants(scores)
    kinds = np.array(lines.kinds.names)[lines.codes(scores.table)]
    assert_array_equal(np.isin(kinds, ["ambiguous", "likely mislabelled"]), doubted)
    assert f"below {words}" in view_of(scores).phrases(scores.outputs).doubtful


def test_the_page_tells_of_second_labels(people, tmp_path):
    path = tmp_path / "people.html"
    people.report(path)
    differs = (people.table["label"] != people.table["reference_label"]).to_numpy()
    found = label_issues(people).found
    sentence = describe(people).sentences[-1]
    assert f"{differs.sum()} ({differs.mean():.1%}) differ" in sentence
    assert f"AUROC {found.auroc:.3f}" in sentence
    assert_array_equal(unpack(Document(path).json("column-data")["differs"]), differs)


@pytest.mark.parametrize(
    ("corruption", "said"),
    [
        ({}, None),
        ({"flip_labels": 0.1, "seed": 0, "n_corrupted": 9}, "10% of the labels flipped; in all 9 samples"),
        (
            {"noise": 1.5, "noise_classes": ["a", "b"], "seed": 3, "n_corrupted": 1},
            "noise of 1.5 standard deviations on features; only of a, b; in all 1 sample",
        ),
        (
            {"human_labels": True, "seed": 0, "n_corrupted": 2},
            "labels that people gave in the place of the given ones; in all 2 samples",
        ),
    ],
)
def test_about_tells_changes_in_words(people, corruption, said):
    extractor = {"model": "m", "n_from_cache": 3, "left_out": 0, "cache": "/somewhere"}
    provenance = replace(people.provenance, corruption=corruption, extractor=extractor)
    told = dict(describe(replace(people, provenance=provenance)).provenance)
    assert told.get("changed on purpose") == said
    assert [name for name in told if "extractor" in name] == ["extractor: model"]
    assert not any("corrupted" in name or "seed" in name for name in told)


def test_about_names_what_was_used(people):
    settings = dict(describe(people).settings)
    assert settings["curvature"] == "diag"
    assert float(settings["weight decay"]) > 0
    assert "–" not in settings.values()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("downloads")) as opened:
        yield opened


@pytest.fixture
def page(driver, people, tmp_path):
    people.report(tmp_path / "people.html")
    set_size(driver, 1280)
    open_page(driver, tmp_path / "people.html")
    return driver


def midrank(values, value):
    return ((values < value).sum() + (values <= value).sum()) / (2 * len(values))


@pytest.mark.browser
def test_values_stand_in_their_class_and_among_all(page, people):
    row = gallery(page, "doubted")[0]
    find(page, f".gallery.doubted [data-row='{row}']").click()
    table, own = people.table, people.table["label"] == people.table["label"][row]
    lines = {}
    for line in find_all(page, "#detail .standings tbody tr"):
        lines[line.find_element(By.TAG_NAME, "th").text] = [cell.text for cell in line.find_elements(By.TAG_NAME, "td")]
    assert set(lines) == {"age", "city", "income"}
    for values, place in ((table["age"], 1), (table["age"][own], 2)):
        assert float(lines["age"][place].rstrip("%")) == pytest.approx(100 * midrank(values, table["age"][row]), abs=0.6)
    same = (table["city"][own] == table["city"][row]).mean()
    assert float(lines["city"][2].split("%")[0]) == pytest.approx(100 * same, abs=0.6)
    assert find(page, "#detail .detail-head").text.split()[:2] == ["id", str(table["id"][row])]


@pytest.mark.browser
def test_any_column_and_the_reference_filter(page, people):
    names = [gallery_.get_attribute("class").split()[-1] for gallery_ in find_all(page, "#gallery-list .gallery")]
    assert names == ["doubted", "highest", "lowest"]
    Select(find(page, "#kept-filter")).select_by_visible_text("city")
    Select(find(page, "#kept-value")).select_by_visible_text("Oslo")
    wait(page, lambda: count_of(page) == (people.table["city"] == "Oslo").sum())
    Select(find(page, "#kept-filter")).select_by_visible_text("age")
    wait(page, lambda: count_of(page) == N)
    quarter = Select(find(page, "#kept-value")).options[1]
    quarter.click()
    wait(page, lambda: 20 <= count_of(page) <= 25)
    low = people.table["age"].nsmallest(count_of(page)).index
    assert set(table_rows(page)) <= set(low)
    find(page, "#chips .chip").click()
    wait(page, lambda: count_of(page) == N)
    Select(find(page, "#kind-filter")).select_by_visible_text("differs from the reference")
    wait(page, lambda: count_of(page) == (people.table["label"] != people.table["reference_label"]).sum())
