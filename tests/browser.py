"""A headless Chromium for the tests of pages."""

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

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
    return int(driver.execute_script("return document.documentElement.dataset.ready"))
