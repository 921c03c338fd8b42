"""The report page in a browser. Whatever is expected to follow an action is waited for, never slept for."""

import csv
from dataclasses import replace

import numpy as np
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
    hover_on_map,
    open_page,
    set_size,
    table_rows,
    wait,
    whole_lines,
)
from commands import run
from lapsi.data.samples import ImageArrays
from lapsi.report.page import write_report
from runs_for_reports import HOSTILE, hostile_scores, make_scores, with_checks

N = 300
SOURCE_OF = "return document.querySelector(`.sample[data-row='${arguments[0]}'] img`).src"
LINES_OF = """
const cards = [...document.querySelectorAll(`.gallery.${arguments[0]} .sample`)];
const inLine = Map.groupBy(cards, (card) => card.offsetTop);
return [...new Set([...inLine.values()].map((line) => line.length))];
"""
FINGER = 40  # pixels
TOO_SMALL = f"""
const found = [...document.querySelectorAll(`${{arguments[0]}}:is(a, button, select, summary, input:not([type=checkbox]))`)];
const shown = found.filter((node) => node.checkVisibility() && !node.matches('.skip'));
return shown.map((node) => [node.outerHTML.slice(0, 90), node.getBoundingClientRect()])
  .filter(([, {{ width, height }}]) => width < {FINGER} || height < {FINGER})
  .map(([html, {{ width, height }}]) => `${{html}}: ${{width}} x ${{height}}`);
"""
INKED_ROWS = """
const canvas = document.querySelector(`#${arguments[0]} canvas`);
const { data, width, height } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
const rows = Array.from({ length: height }, (_, row) => row);
const inked = rows.filter((row) => {
  let ink = 0;  // the lines of the axis are one pixel each
  for (let at = 0; at < width; at++) ink += data[4 * (row * width + at) + 3] > 60;
  return ink > 20;
});
return [inked[0], inked.at(-1)];
"""
IN_SIGHT = """
const { x, y } = arguments[0].getBoundingClientRect();
return document.elementFromPoint(x + 9, y + 9) === arguments[0];
"""
MIDDLE = """
const canvas = document.querySelector(`#${arguments[0]} canvas`);
const [x, y] = [canvas.width / 2 - 20, canvas.height / 2 - 20];
const { data } = canvas.getContext('2d').getImageData(x, y, 40, 40);
return [0, 1, 2].map((channel) => data.reduce((sum, value, at) => sum + (at % 4 === channel ? value : 0), 0) / 1600);
"""
RAMP = """
const canvas = document.querySelector('#map-legend canvas');
const { data } = canvas.getContext('2d').getImageData(0, 0, 32, 1);
return Array.from({ length: 32 }, (_, step) => `rgb(${[...data.slice(4 * step, 4 * step + 3)]})`);
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
def scores():
    columns = {"text": [f"the text of {'owl' if row % 10 == 0 else 'sample'} {row}" for row in range(N)]}
    columns |= {"corrupted": np.arange(N) % 9 == 0}
    return make_scores(N, n_classes=4, classes=["ant", "bee", "cat", "dog"], columns=columns, seed=5)


@pytest.fixture(scope="module")
def page(scores, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "report.html"
    pixels = np.random.default_rng(0).integers(0, 255, (N, 8, 8), dtype=np.uint8)
    write_report(scores, path, content=ImageArrays(pixels))
    return path


@pytest.fixture
def opened(browser, page):
    """The page with nothing marked and nothing filtered."""
    set_size(browser, 1280)
    open_page(browser, page)
    browser.execute_script("localStorage.clear()")
    open_page(browser, page)
    browser.get_log("browser")
    return browser


def test_it_opens_without_complaint_and_draws_every_plot(opened):
    assert opened.get_log("browser") == []
    for plot in PLOTS:
        assert opened.execute_script(INK_ON, plot) > 8, plot
    assert count_of(opened) == N


def test_galleries_show_both_ends_with_their_pictures(opened, scores):
    order, shown = np.argsort(scores.lsi, kind="stable"), whole_lines(opened)
    assert gallery(opened, "lowest") == order[:shown].tolist()
    assert gallery(opened, "highest") == order[::-1][:shown].tolist()
    assert gallery(opened, "doubted") == np.argsort(scores.table["label_quality"], kind="stable")[:shown].tolist()
    wait(
        opened,
        lambda: opened.execute_script("return [...document.querySelectorAll('.sample img')].every((i) => i.naturalWidth)"),
    )
    row = order[-1]
    card = find(opened, ".gallery.highest .sample").text
    assert scores.table["label"][row] in card
    if scores.table["suggested_label"].notna()[row]:
        assert scores.table["suggested_label"][row] in card
    opened.execute_script("document.querySelector('.gallery.lowest .gallery-foot button').click()")
    assert len(gallery(opened, "lowest")) == whole_lines(opened, 36)


def test_the_galleries_of_a_class(opened, scores):
    Select(find(opened, "#class-filter")).select_by_visible_text("bee")
    own = np.flatnonzero(scores.table["label"] == "bee")
    wait(opened, lambda: count_of(opened) == len(own))
    order, shown = own[np.argsort(scores.lsi[own], kind="stable")], whole_lines(opened)
    assert gallery(opened, "lowest") == order[:shown].tolist()
    assert gallery(opened, "highest") == order[::-1][:shown].tolist()


def test_headings_sort(opened, scores):
    def first():
        return table_rows(opened)[:5]

    assert first() == np.argsort(-scores.lsi, kind="stable")[:5].tolist()
    button = find(opened, "[data-key=label_quality] button")
    quality = scores.table["label_quality"].to_numpy()
    click(opened, button)
    assert first() == np.argsort(quality, kind="stable")[:5].tolist()
    assert find(opened, "[data-key=label_quality]").get_attribute("aria-sort") == "ascending"
    button.send_keys(Keys.ENTER)
    assert first() == np.argsort(-quality, kind="stable")[:5].tolist()
    for key in ("mark", "id", "label", "suggested", "lsi", "loo_margin", "rank", "corrupted", "text"):
        opened.execute_script(f"document.querySelector('[data-key={key}] button').click()")
    assert first()[:3] == sorted(range(N), key=lambda row: scores.table["text"][row])[:3]
    assert opened.get_log("browser") == []


def test_search_and_kinds_filter(opened, scores):
    find(opened, "#search").send_keys("owl TEXT")
    wait(opened, lambda: count_of(opened) == N // 10)
    assert all(row % 10 == 0 for row in table_rows(opened) + gallery(opened, "highest"))
    Select(find(opened, "#kind-filter")).select_by_visible_text("corrupted samples")
    wait(opened, lambda: count_of(opened) == sum(row % 90 == 0 for row in range(N)))
    click(opened, find(opened, "#chips .plain"))
    wait(opened, lambda: count_of(opened) == N)
    assert find(opened, "#search").get_attribute("value") == ""
    Select(find(opened, "#kind-filter")).select_by_visible_text("doubted labels")
    wait(opened, lambda: count_of(opened) == (scores.table["label_quality"] < 0.25).sum())
    find(opened, "#search").send_keys("nowhere to be found")
    wait(opened, lambda: count_of(opened) == 0)
    assert "No sample passes" in find(opened, "#table .none").text


@pytest.mark.parametrize("plot", PLOTS)
def test_a_brush_filters_table_and_galleries(opened, plot):
    drag(opened, plot, *(((0.3, 0.2), (0.85, 0.6)) if plot == "scatter" else ((0.55, 0.2), (0.85, 0.4))))
    wait(opened, lambda: 0 < count_of(opened) < N)
    selected = count_of(opened)
    Select(find(opened, "#kind-filter")).select_by_visible_text("all samples")
    shown = set(table_rows(opened))
    assert set(gallery(opened, "highest")) <= shown or selected > len(shown)
    assert len(gallery(opened, "highest")) == min(whole_lines(opened), selected)
    assert int(find(opened, ".viewport").get_attribute("aria-rowcount")) == selected + 1
    click(opened, find(opened, "#chips .chip"))
    wait(opened, lambda: count_of(opened) == N)
    assert opened.get_log("browser") == []


def test_brushes_select_what_they_cover(opened, scores):
    drag(opened, "histogram", (0.6, 0.5), (0.995, 0.5))
    wait(opened, lambda: count_of(opened) < N)
    lowest = scores.lsi[gallery(opened, "lowest")[0]]
    assert count_of(opened) == (scores.lsi >= lowest).sum()
    click(opened, find(opened, "#chips .chip"))
    wait(opened, lambda: count_of(opened) == N)
    click(opened, find_all(opened, "#quadrants button")[0])
    wait(opened, lambda: count_of(opened) < N)
    line = np.quantile(scores.lsi, 0.75)
    assert count_of(opened) == ((scores.lsi >= line) & (scores.table["label_quality"] < 0.25)).sum()


@pytest.mark.parametrize("plot", PLOTS)
def test_plots_are_brushed_by_keyboard(opened, plot):
    canvas = find(opened, f"#{plot} canvas")
    opened.execute_script("arguments[0].focus()", canvas)
    canvas.send_keys(Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    wait(opened, lambda: count_of(opened) < N)
    canvas.send_keys(Keys.ESCAPE)
    wait(opened, lambda: count_of(opened) == N)


def progress(driver):
    return find(driver, "#progress").text


def download(driver, folder):
    """The file of the review and its records."""
    for old in folder.iterdir():
        old.unlink()
    click(driver, find(driver, "#download"))
    wait(driver, lambda: list(folder.glob("review-*.csv")))
    (file,) = folder.glob("review-*.csv")
    with file.open(newline="", encoding="utf-8") as lines:
        return file, list(csv.DictReader(lines))


def test_marks_by_keys_and_buttons_survive_a_reload_and_download(opened, page, scores, downloads, tmp_path):
    cards = find_all(opened, ".gallery.highest .sample")
    rows = gallery(opened, "highest")
    opened.execute_script("arguments[0].focus()", cards[0])
    for key in ("1", Keys.ARROW_RIGHT, "3", Keys.ARROW_RIGHT, "4", Keys.ARROW_RIGHT, "1", "0"):
        opened.switch_to.active_element.send_keys(key)
    assert "3 samples reviewed: 1 keep, 1 remove, 1 unsure" in progress(opened)
    doubted = next(row for row in gallery(opened, "doubted") if row not in rows[:4])
    opened.execute_script(f"document.querySelector('.gallery.doubted [data-row=\"{doubted}\"] [data-action=relabel]').click()")
    viewport = find(opened, ".viewport")
    opened.execute_script("document.querySelector('[data-key=rank] button').click(); arguments[0].focus()", viewport)
    viewport.send_keys(Keys.END, "3")
    last = int(np.argmin(scores.lsi))
    assert "5 samples reviewed: 1 keep, 1 relabel, 2 remove, 1 unsure" in progress(opened)
    assert "of" in progress(opened).split("·")[1]
    assert find(opened, f".body [data-row='{last}']").get_attribute("data-mark") == "remove"

    open_page(opened, page)
    assert "5 samples reviewed: 1 keep, 1 relabel, 2 remove, 1 unsure" in progress(opened)
    assert find(opened, f".gallery.highest [data-row='{rows[1]}']").get_attribute("data-mark") == "remove"

    file, records = download(opened, downloads)
    assert list(records[0]) == ["id", "row", "label", "action", "new_label", "note", "run"]
    assert [int(record["row"]) for record in records] == sorted([*rows[:3], doubted, last])
    relabelled = next(record for record in records if record["action"] == "relabel")
    assert relabelled["new_label"] == scores.table["suggested_label"][doubted]
    scores.save(tmp_path / "run")
    applied = run("apply", tmp_path / "run", "--review", file, "-o", tmp_path / "cleaned.csv")
    assert "2 removed, 1 relabelled, 1 kept, 1 unsure" in applied.stdout, applied.stderr


def test_a_sample_in_full(opened, scores, page, downloads):
    agreed = next(row for row in gallery(opened, "lowest") if scores.table["suggested_label"].isna()[row])
    card = find(opened, f".gallery.lowest [data-row='{agreed}']")
    opened.execute_script("arguments[0].focus()", card)
    card.send_keys("2")  # there is no suggestion, so it asks for the new label
    dialog = find(opened, "#detail")
    assert dialog.get_attribute("open") is not None
    new = "weasel, grey"
    opened.switch_to.active_element.send_keys(new, Keys.TAB)
    assert f"relabel as {new}" in dialog.text
    notes = find_all(opened, "#detail input")[1]
    notes.send_keys('a "note", 1 2 3 4', Keys.TAB)
    assert "1 sample reviewed: 1 relabel" in progress(opened)
    opened.switch_to.active_element.send_keys(Keys.ESCAPE)
    open_page(opened, page)
    assert "1 sample reviewed: 1 relabel" in progress(opened)
    (record,) = download(opened, downloads)[1]
    assert (record["id"], record["new_label"], record["note"]) == (str(agreed), new, 'a "note", 1 2 3 4')
    opened.execute_script("document.querySelector('.gallery.highest .sample').click()")
    first = find(opened, "#detail-title").text
    find(opened, "#detail").send_keys(Keys.ARROW_RIGHT)
    assert find(opened, "#detail-title").text != first
    find(opened, "#detail").send_keys("3")
    assert "1 remove" in progress(opened)
    assert opened.get_log("browser") == []


def test_the_table_holds_only_what_is_visible_and_scrolls(opened, scores):
    assert len(table_rows(opened)) < 60
    viewport = find(opened, ".viewport")
    opened.execute_script("arguments[0].focus()", viewport)
    viewport.send_keys(Keys.END)
    wait(opened, lambda: int(np.argmin(scores.lsi)) in table_rows(opened))
    viewport.send_keys(Keys.ENTER)
    assert find(opened, "#detail-title").text == str(np.argmin(scores.lsi))


def test_what_names_a_sample_stays_in_sight_and_kept_columns_stand_early(browser, tmp_path):
    columns = {"group": [f"source {row % 3}" for row in range(40)], "path": [f"folder/{row}.png" for row in range(40)]}
    columns |= {f"more {place}": [f"value {row}" for row in range(40)] for place in range(6)}
    scores = make_scores(40, columns=columns)
    write_report(scores, tmp_path / "wide.html")
    places = "return [...document.querySelectorAll(arguments[0])].map((node) => node.getBoundingClientRect().x)"
    for width, stays in ((1280, True), (500, False)):
        set_size(browser, width)
        open_page(browser, tmp_path / "wide.html")
        keys = browser.execute_script("return [...document.querySelectorAll('.heads .cell')].map((cell) => cell.dataset.key)")
        assert keys.index("extra:group") < keys.index("rank") < keys.index("extra:path")
        held, others = ".row .cell:is(:nth-child(1), :nth-child(2))", ".row .cell:nth-child(5)"
        before = [browser.execute_script(places, each) for each in (held, others)]
        viewport = find(browser, ".viewport")
        browser.execute_script("arguments[0].scrollLeft = 400", viewport)
        after = [browser.execute_script(places, each) for each in (held, others)]
        assert (after[0] == before[0]) == stays
        np.testing.assert_allclose(np.subtract(before[1], after[1]), 400)
        identifier = find(browser, ".body .row .cell:nth-child(2)")
        browser.execute_script(
            "arguments[0].scrollIntoView({block: 'center'}); arguments[1].scrollLeft = 400", identifier, viewport
        )
        assert browser.execute_script(IN_SIGHT, identifier) == stays


def test_high_lsi_does_not_hide_what_lies_below_on_a_crowded_map(browser, tmp_path):
    scores = make_scores(12_000)
    on_map = np.random.default_rng(1).normal(size=(12_000, 2)).astype(np.float32) * 0.15
    on_map[:2] = [[-1], [1]]
    write_report(replace(scores, map=on_map), tmp_path / "crowded.html")
    set_size(browser, 1280)
    open_page(browser, tmp_path / "crowded.html")
    middle = browser.execute_script(MIDDLE, "map")
    ramp = np.array([[int(part) for part in colour[4:-1].split(",")] for colour in browser.execute_script(RAMP)])
    low, high = np.quantile(np.log10(scores.lsi), [0, 1])
    steps = np.clip(32 * (np.log10(scores.lsi) - low) / (high - low), 0, 31).astype(int)
    mean, highest = ramp[steps].mean(0), ramp[np.sort(steps)[-1200:]].mean(0)
    assert np.linalg.norm(middle - mean) < np.linalg.norm(middle - highest) / 2


def test_colours_switch_and_stay(opened, page):
    def surface():
        return opened.execute_script("return getComputedStyle(document.querySelector('.top')).backgroundColor")

    light = surface()
    find(opened, "#theme").click()
    dark = surface()
    assert light != dark
    open_page(opened, page)
    assert surface() == dark
    opened.execute_script("localStorage.removeItem('lapsi-theme')")


def test_the_map_is_coloured_by_class(opened):
    click(opened, find(opened, "#by-class"))
    assert [entry.text for entry in find_all(opened, "#map-legend .entry")] == ["ant", "bee", "cat", "dog"]
    click(opened, find(opened, "#planted"))
    assert opened.get_log("browser") == []


def alone_on_map(scores, among):
    """Of some samples, the one that lies farthest from its nearest one."""
    distances = np.linalg.norm(scores.map[:, None] - scores.map, axis=2) + np.diag(np.full(len(scores), np.inf))
    return among[distances.min(1)[among].argmax()]


def test_a_point_of_the_map_shows_its_picture_and_the_beginning_of_its_text(opened, scores):
    row = alone_on_map(scores, gallery(opened, "highest"))
    held = opened.execute_script("return document.documentElement.outerHTML.length")
    tip = hover_on_map(opened, scores.map, row)
    wait(opened, lambda: opened.execute_script("return document.querySelector('#tip .glance img')?.naturalWidth > 0"))
    assert tip.text.splitlines()[:2] == [scores.table["text"][row], str(row)]
    assert f"label {scores.table['label'][row]}" in tip.text
    card = opened.execute_script(SOURCE_OF, row)
    assert find(opened, "#tip img").get_attribute("src") == card
    find(opened, "h1").click()
    assert not tip.is_displayed()
    assert opened.execute_script("return document.documentElement.outerHTML.length") - held < 2 * len(card) + 1000


def test_a_point_of_the_map_shows_the_most_unusual_values_of_a_table(browser, tmp_path):
    columns = {"age": np.arange(N) % 50 + 0.5, "work": ["own" if row % 9 else "none" for row in range(N)]}
    columns |= {name: np.arange(N) * factor % 71 for name, factor in (("a", 7), ("b", 11))}
    made = make_scores(N, n_classes=2, classes=["no", "yes"], columns=columns, seed=5)
    made = replace(made, provenance=replace(made.provenance, table={"columns": [], "shown": list(columns)}))
    write_report(made, tmp_path / "table.html")
    set_size(browser, 1280)
    open_page(browser, tmp_path / "table.html")
    row = alone_on_map(made, np.arange(N))
    lines = hover_on_map(browser, made.map, row).text.splitlines()
    assert lines[3] == str(row)
    shown = dict(line.split(": ") for line in lines[:3])
    assert len(shown) == 3
    assert all(float(shown[name]) == columns[name][row] for name in shown if name != "work")


@pytest.mark.parametrize("width", [360, 700, 1000, 1400, 1900])
def test_galleries_end_in_whole_lines(opened, width):
    set_size(opened, width)
    wait(opened, lambda: opened.execute_script("return innerWidth") == width)
    for name in ("doubted", "highest"):
        wait(opened, lambda name=name: len(gallery(opened, name)) == whole_lines(opened))
        assert len(opened.execute_script(LINES_OF, name)) == 1
        assert 12 <= len(gallery(opened, name)) < 24
    opened.execute_script("document.querySelector('.gallery.doubted .sample').focus()")
    opened.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert opened.switch_to.active_element == find_all(opened, ".gallery.doubted .sample")[whole_lines(opened, 1)]


def test_a_finger_can_hit_whatever_can_be_hit(browser, page):
    set_size(browser, 360)
    open_page(browser, page)
    browser.execute_script("document.querySelector('.mark').click()")
    for view in ("", "#detail "):
        small = browser.execute_script(TOO_SMALL, view)
        assert small == [], view
        browser.execute_script("document.querySelector('.sample').click()")
    browser.execute_script("document.querySelector('#detail').close(); localStorage.clear()")


@pytest.mark.parametrize("n_classes", [1, 2, 3, 4, 10])
def test_the_chart_of_classes_fills_its_card(browser, n_classes, tmp_path):
    write_report(make_scores(N, n_classes=n_classes, seed=1) if n_classes > 1 else one_class(), tmp_path / "few.html")
    set_size(browser, 1280)
    open_page(browser, tmp_path / "few.html")
    chart, card = (find(browser, selector).rect for selector in ("#classes canvas", ".card:has(#classes)"))
    assert chart["y"] + chart["height"] > card["y"] + card["height"] - 80
    first, last = browser.execute_script(INKED_ROWS, "classes")
    assert last - first > 0.75 * chart["height"]


def one_class():
    made = make_scores(N, n_classes=2, seed=1)
    return made.from_pandas(made.to_pandas().query("label == 0"))


@pytest.mark.parametrize("width", [360, 768, 1280, 1920])
@pytest.mark.parametrize("which", ["page", "hostile"])
def test_nothing_is_wider_than_the_window(browser, page, hostile, width, which):
    set_size(browser, width)
    open_page(browser, page if which == "page" else hostile)
    assert browser.execute_script("return document.scrollingElement.scrollWidth <= innerWidth")
    browser.execute_script("document.querySelector('.sample').click()")
    assert browser.execute_script(
        "return document.querySelector('#detail').scrollWidth <= document.querySelector('#detail').clientWidth"
    )


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    path = tmp_path_factory.mktemp("hostile") / "report.html"
    write_report(hostile_scores(), path)
    return path


def test_markup_in_the_data_is_shown_and_never_run(browser, hostile):
    set_size(browser, 1280)
    browser.get_log("browser")
    open_page(browser, hostile)
    opened = browser
    assert HOSTILE in find(opened, "h1").text
    assert HOSTILE in opened.title
    cells = find(opened, ".body .row").text
    assert cells.count(HOSTILE) >= 3
    opened.execute_script("document.querySelector('.sample').click()")
    detail = find(opened, "#detail").text
    for text in (f"{HOSTILE}column", "/tmp/<script>", "<!-- <script> </script>", "</script><script>window.broken = 2"):
        assert text in detail, text
    find(opened, "#detail").send_keys("1", Keys.ESCAPE)
    drag(opened, "classes", (0.6, 0.05), (0.8, 0.2))
    find(opened, "#search").send_keys("<script>")
    wait(opened, lambda: "search" in find(opened, "#chips").text)
    assert opened.execute_script("return window.broken") is None
    assert opened.execute_script("return document.querySelectorAll('main script, main img[src=x]').length") == 0
    assert opened.get_log("browser") == []


def test_a_noise_floor_is_drawn_and_told(browser, scores, tmp_path):
    floor = float(np.quantile(scores.lsi, 0.4))
    noisy = replace(scores, provenance=replace(scores.provenance, plan={"noise_floor": {"rounding": floor}}))
    pages = [tmp_path / "noisy.html", tmp_path / "plain.html"]
    drawn = []
    for run_, path in zip((noisy, scores), pages, strict=True):
        write_report(run_, path)
        open_page(browser, path)
        drawn.append(browser.execute_script("return document.querySelector('#histogram canvas').toDataURL()"))
        said = find(browser, "#histogram [aria-label]").get_attribute("aria-label")
        assert ("Noise floor" in said) == (run_ is noisy)
    assert drawn[0] != drawn[1]


def test_samples_of_a_table_are_shown_by_the_values_of_their_columns(browser, tmp_path):
    columns = {"age": np.arange(N) % 50 + 0.5, "work": [HOSTILE if row % 2 else "own" for row in range(N)]}
    made = make_scores(N, n_classes=2, classes=["no", "yes"], columns=columns, seed=5)
    made = replace(made, provenance=replace(made.provenance, table={"columns": [], "shown": ["age", "work"]}))
    write_report(made, tmp_path / "table.html", features=np.ones((N, 7)))
    set_size(browser, 1280)
    open_page(browser, tmp_path / "table.html")
    row, card = gallery(browser, "lowest")[0], find(browser, ".gallery.lowest .sample")
    names, values = (find_all(card, each) for each in ("dt", "dd"))
    shown = {name.text: value.get_attribute("textContent") for name, value in zip(names, values, strict=True)}
    assert shown == {"age": f"{columns['age'][row]:.1f}", "work": columns["work"][row]}
    assert find_all(browser, "canvas.pixelated") == []


def test_samples_that_checks_found_can_be_filtered(browser, scores, tmp_path):
    write_report(with_checks(scores), tmp_path / "checked.html")
    open_page(browser, tmp_path / "checked.html")
    field = Select(find(browser, "#check-filter"))
    assert [option.text for option in field.options] == ["all samples", "duplicates (43)", "outliers (60)"]
    field.select_by_visible_text("outliers (60)")
    wait(browser, lambda: count_of(browser) == 60)
    assert "check: outliers" in find(browser, "#chips").text
    assert all(row % 5 == 0 for row in gallery(browser, "highest"))
    Select(find(browser, "#kind-filter")).select_by_visible_text("corrupted samples")
    wait(browser, lambda: count_of(browser) == sum(row % 45 == 0 for row in range(N)))
    click(browser, next(chip for chip in find_all(browser, "#chips .chip") if "check: outliers" in chip.text))
    wait(browser, lambda: count_of(browser) == sum(row % 9 == 0 for row in range(N)))
    assert field.first_selected_option.text == "all samples"
    click(browser, find(browser, "#chips .plain"))
    wait(browser, lambda: count_of(browser) == N)
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_a_run_that_was_not_checked_has_no_such_filter(opened):
    assert not find(opened, "#check-filter").is_displayed()
