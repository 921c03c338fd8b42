"""Writes the report of a large made-up run, opens it in headless Chromium and prints one JSON line.

    python benchmarks/report.py [--samples 50000] [--classes 10] [--images] [--texts] [--repeat 5] [--keep FILE.html]

`ready_ms`: from navigation until every plot, gallery and the table stand (median of the repeats; the first is cold).
`filter_ms`, `sort_ms`, `search_ms`, `brush_ms`, `scroll_ms`: one interaction, until the frame after it is drawn.
Chromium and chromedriver must be installed.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from lapsi.data.samples import ImageArrays
from lapsi.report.page import write_report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import chromium, open_page, set_size
from runs_for_reports import make_scores

# runs an action and calls back with the milliseconds until the second frame after it, which shows its result
TIMED = """
const done = arguments[arguments.length - 1];
const started = performance.now();
(() => { %s })();
requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - started)));
"""
SEARCH = (  # the field waits 120 ms for more letters; the count changes when the answer stands
    "const done = arguments[arguments.length - 1]; const started = performance.now();"
    "const field = document.getElementById('search'); field.value = 'sample 77'; field.dispatchEvent(new Event('input'));"
    "new MutationObserver((_, watch) => { watch.disconnect(); requestAnimationFrame(() => requestAnimationFrame(() =>"
    "done(performance.now() - started))); }).observe(document.getElementById('count'), {childList: true});"
)
ACTIONS = {
    "filter_ms": "const field = document.getElementById('class-filter'); field.value = '1';"
    "field.dispatchEvent(new Event('change'));",
    "sort_ms": "document.querySelector('[data-key=label_quality] button').click();",
    "brush_ms": "document.querySelector('#histogram canvas').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight'}));",
    "scroll_ms": "document.querySelector('.viewport').scrollTop = 400000;",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--images", action="store_true", help="32 × 32 pixels of noise, which nothing compresses")
    parser.add_argument("--texts", action="store_true", help="200 characters a sample")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="where to leave the page")
    options = parser.parse_args()

    n = options.samples
    columns = {"text": [f"sample {row} " + "some words " * 18 for row in range(n)]} if options.texts else None
    scores = make_scores(n, options.classes, columns=columns)
    noise = np.random.default_rng(0).integers(0, 255, (n if options.images else 0, 32, 32, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = options.keep or Path(folder) / "report.html"
        started = time.perf_counter()
        summary = write_report(scores, path, content=ImageArrays(noise) if options.images else None)
        seconds = time.perf_counter() - started
        with chromium(folder) as driver:
            set_size(driver, 1280)
            ready = [open_page(driver, path) for _ in range(options.repeat)]
            times = {name: driver.execute_async_script(TIMED % action) for name, action in ACTIONS.items()}
            open_page(driver, path)
            times["search_ms"] = driver.execute_async_script(SEARCH)
            heap = driver.execute_script("return performance.memory.usedJSHeapSize")
    print(
        json.dumps(
            {
                "samples": n,
                "classes": options.classes,
                "images": options.images,
                "texts": options.texts,
                "write_seconds": round(seconds, 2),
                "megabytes": round(summary.n_bytes / 1e6, 2),
                "pictures": summary.n_pictures,
                "ready_ms": statistics.median(ready),
                "ready_cold_ms": ready[0],
                **{name: round(value) for name, value in times.items()},
                "heap_megabytes": round(heap / 1e6),
                "machine": platform.processor() or platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
