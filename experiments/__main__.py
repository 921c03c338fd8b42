"""All figures and tables of the paper, one after the other; what is done already is left alone. `make paper` calls it."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from experiments.base import done, parser_of, run, setup_of
from experiments.catalogue import EXPERIMENTS
from experiments.page import write_page
from lapsi.errors import LapsiError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs them, tells the verdicts, and writes the page; 1 where one of them could not be run."""
    parser = parser_of(__doc__)
    parser.add_argument("--only", help=f"names with commas between them, of {', '.join(EXPERIMENTS)}")
    parser.add_argument(
        "--page", type=Path, help="also write a page of all results, with its pictures in images/paper beside it"
    )
    options = parser.parse_args(arguments)
    names = options.only.split(",") if options.only else list(EXPERIMENTS)
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown:
        parser.error(f"there is no experiment {unknown[0]!r}; expected {', '.join(EXPERIMENTS)}")
    failed = 0
    for place, name in enumerate(names, 1):
        experiment, setup = EXPERIMENTS[name], setup_of(options, name)
        there = not options.again and done(experiment, setup, options.to) is not None
        about = "done already" if there else f"about {experiment.minutes:g} min" if options.scale == "small" else "running"
        print(f"[{place}/{len(names)}] {experiment.paper}, {name}: {experiment.title} ({about})", flush=True)
        start = time.perf_counter()
        try:
            record = run(experiment, setup, options.to, options.again)
        except LapsiError as error:
            failed += 1
            print(f"  not run: {error}", flush=True)
            continue
        for verdict in record["verdicts"]:
            print(f"  {verdict['word']}: {verdict['claim']} ({verdict['recipe']})", flush=True)
        if not there:
            print(f"  {time.perf_counter() - start:.0f} s", flush=True)
    if options.page is not None:
        write_page(options.to, options.page)
        print(f"{options.page} tells all of it.", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
