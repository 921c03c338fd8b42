"""A headless Chromium for the tests of pages."""

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

READY_SECONDS = 20
MAP_MARGIN, MAP_PAD = 8, 0.03  # pixels around the map, shares of its range around the points
PLOTS = ("histogram", "classes", "scatter", "map")
INK_ON = """
const canvas = document.querySelector(`#${arguments[0]} canvas`);
const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
const colours = new Set();
for (let at = 0; at < pixels.length; at += 4) {
  if (pixels[at + 3] > 200) colours.add(`${pixels[at]},${pixels[at + 1]},${pixels[at + 2]}`);
}
return colours.size;
"""
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium(downloads):
    """A fresh browser that saves what it downloads to a folder.

    Raises:
        RuntimeError: when Chromium or its driver is not installed.
    """
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if not all(programs.values()):
        missing = ", ".join(name for name, path in programs.items() if path is None)
        raise RuntimeError(f"The tests of the report page need {missing}: apt-get install -y chromium chromium-driver")
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = programs["chromium"]
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(programs["chromedriver"]))
        still = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", still)
        try:
            yield driver
        finally:
            driver.quit()


def set_size(driver, width, height=900):
    """The size of the page itself, also below what a window can have."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    )


def open_page(driver, path):
    """Opens a report and returns the milliseconds from navigation until it was ready."""
    driver.get(Path(path).absolute().as_uri())
    ready = "return document.documentElement.dataset.ready"
    return int(WebDriverWait(driver, READY_SECONDS).until(lambda driver: driver.execute_script(ready)))


def find(driver, selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def find_all(driver, selector):
    return driver.find_elements(By.CSS_SELECTOR, selector)


def click(driver, node):
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", node)
    node.click()


def wait(driver, condition):
    return WebDriverWait(driver, 10, poll_frequency=0.05).until(lambda _: condition())


def count_of(driver):
    """Number of samples that the filters let through, as the page says it."""
    text = find(driver, "#count").text
    return int(text.removeprefix("All ").split()[0].replace(",", ""))


def table_rows(driver):
    """Positions of the first rows of the table, as they are shown."""
    return driver.execute_script("return [...document.querySelectorAll('.body .row')].map((row) => Number(row.dataset.row))")


def gallery(driver, name):
    cards = f".gallery.{name} .sample"
    return driver.execute_script("return [...document.querySelectorAll(arguments[0])].map((c) => Number(c.dataset.row))", cards)


def whole_lines(driver, wanted=12):
    """How many cards a gallery begins with: as many as fill whole lines."""
    tracks = "return getComputedStyle(document.querySelector('.cards')).gridTemplateColumns.split(' ').length"
    per_line = driver.execute_script(tracks)
    return -(-wanted // per_line) * per_line


def hover_on_map(driver, on_map, row):
    """Moves the mouse to a sample of a map (n, 2) and returns the tip."""
    canvas = find(driver, "#map canvas")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    low, high = on_map.min(0), on_map.max(0)
    share = ((on_map[row] - low) / (high - low) + MAP_PAD) / (1 + 2 * MAP_PAD)
    x, y = ((at - 0.5) * (canvas.size[side] - 2 * MAP_MARGIN) for at, side in zip(share, ("width", "height"), strict=True))
    ActionChains(driver).move_to_element_with_offset(canvas, round(x), round(-y)).perform()
    return find(driver, "#tip")


def drag(driver, plot, start, end):
    """Brushes between two points in shares of the canvas."""
    canvas = find(driver, f"#{plot} canvas")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
    width, height = canvas.size["width"], canvas.size["height"]
    (x0, y0), (x1, y1) = (((x - 0.5) * width, (y - 0.5) * height) for x, y in (start, end))
    chain = ActionChains(driver).move_to_element_with_offset(canvas, int(x0), int(y0)).click_and_hold()
    chain.move_to_element_with_offset(canvas, int((x0 + x1) / 2), int((y0 + y1) / 2))
    chain.move_to_element_with_offset(canvas, int(x1), int(y1)).release().perform()
