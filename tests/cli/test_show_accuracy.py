"""What a terminal is told of how exact a run is."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from lapsi.cli.show import print_run
from runs_for_reports import make_scores


def told(**changes):
    """The words of a run whose provenance has other values."""
    scores = make_scores(12)
    scores = replace(scores, provenance=replace(scores.provenance, **changes))
    console = Console(file=io.StringIO(), width=400)
    print_run(scores, 2, console)
    return console.file.getvalue()


CHECK = {
    "rows": [1, 2, 3],
    "max_relative_error": 4e-4,
    "median_relative_error": 1e-5,
    "reference": "exact",
}


def test_the_largest_errors_of_both_draws_are_told():
    both = CHECK | {"max_relative_error_suspected": 3e-4, "max_relative_error_random": 2e-5}
    line = "largest relative error 4.0e-04, median 1.0e-05"
    assert f"{line} (largest of suspected rows 3.0e-04, of random rows 2.0e-05)" in told(verification=both)


@pytest.mark.parametrize("more", [{}, {"max_relative_error_suspected": None, "max_relative_error_random": 2e-5}])
def test_one_draw_is_not_told_twice(more):
    assert "random rows" not in told(verification=CHECK | more)


def test_rows_that_stay_above_the_tolerance_are_told_in_one_line():
    assert "Tolerance: 1,234 rows stay above 0.001, as estimated (column lsi_error)" in told(plan={"n_above": 1234})


@pytest.mark.parametrize("plan", [{}, {"n_above": 0}, {"n_above": "many"}])
def test_nothing_is_said_where_none_stay_above(plan):
    assert "Tolerance" not in told(plan=plan)
