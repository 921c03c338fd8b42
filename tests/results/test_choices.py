"""What is told of a choice: the sentence, the picture, and what is refused when it is loaded."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

import lapsi
from commands import run
from lapsi.report.words import describe
from lapsi.results.loss_curve import loss_curve
from lapsi.results.regularization import LARGEST, Regularization, Trial, regularization_from_dict
from runs_for_reports import make_scores


def trial(weight_decay, standardize, loo_loss, n_trained=50):
    return Trial(weight_decay, standardize, loo_loss, 0.01, -30.0, n_trained)


BEST = trial(0.32, "one", 0.4121)
TRIALS = (trial(0.01, "each", 0.9), trial(0.1, "each", 0.5), trial(0.01, "one", 0.655), BEST, trial(1.0, "one", 0.43))
CHOICE = Regularization(("weight_decay", "standardize"), BEST, TRIALS, 50)
TOLD = (
    "weight decay 0.32 chosen by leave-one-out loss 0.412 nats (0.01 would give 0.655); features scaled by one factor "
    "(each by itself: 0.500)"
)


@pytest.fixture
def scores():
    made = make_scores(24)
    return replace(made, provenance=replace(made.provenance, regularization=CHOICE.to_dict()))


def test_a_choice_is_told_in_one_line():
    assert CHOICE.sentence() == TOLD
    assert "; the loss is least at the largest weight decay" in replace(CHOICE, end=LARGEST).sentence()
    given = replace(CHOICE, asked=("standardize",))
    assert given.sentence().startswith("leave-one-out loss 0.412 nats at weight decay 0.32; features scaled by one factor (")
    some = replace(CHOICE, trials=(replace(TRIALS[0], n_trained=9), BEST))
    assert some.sentence() == "weight decay 0.32 chosen by leave-one-out loss 0.412 nats; features scaled by one factor"


def test_a_choice_is_kept_and_shown_everywhere(scores, tmp_path):
    path = scores.save(tmp_path / "run")
    again = lapsi.load_run(path)
    assert regularization_from_dict(again.provenance.regularization) == CHOICE
    assert f"Regularisation: {TOLD}." in " ".join(run("show", path).stdout.split())
    assert json.loads(run("show", path, "--json").stdout)["regularization"]["chosen"]["weight_decay"] == 0.32
    assert describe(again).regularization == f"Regularisation: {TOLD}."
    assert run("report", path, "-q").returncode == 0
    for page in ((tmp_path / "run.html").read_text(), again._repr_html_()):
        assert TOLD in page
        assert page.count("<svg") == 1
    plain = make_scores(24)
    assert describe(plain).regularization == ""
    assert "<svg" not in plain._repr_html_()


def test_the_picture_has_every_trial_and_rings_the_chosen():
    picture = loss_curve(CHOICE)
    dots = [(float(x), float(y)) for x, y in re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="2"', picture)]
    assert len(dots) == len(TRIALS)
    (ring,) = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="6"', picture)
    assert tuple(map(float, ring)) == max(dots, key=lambda dot: dot[1])  # the lowest
    assert {">0.01<", ">0.1<", ">1<"} <= set(re.findall(r">[\d.]+<", picture))
    alone = loss_curve(replace(CHOICE, trials=(BEST,)))
    assert alone.count('r="2"') == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen": {**CHOICE.to_dict()["chosen"], "weight_decay": -1.0}}, "regularization.chosen.weight_decay"),
        ({"trials": [{"weight_decay": 1.0}]}, "regularization.trials.0"),
        ({"end": "middle"}, "regularization.end"),
        ({"n_losses": "many"}, "regularization.n_losses"),
    ],
)
def test_a_damaged_choice_is_refused_in_one_line(scores, tmp_path, change, message):
    path = scores.save(tmp_path / "run")
    record = json.loads((path / "run.json").read_text())
    record["regularization"] |= change
    (path / "run.json").write_text(json.dumps(record))
    with pytest.raises(lapsi.InputError, match=message):
        lapsi.load_run(path)


def test_runs_that_were_saved_before_have_none(scores, tmp_path):
    path = scores.save(tmp_path / "run")
    record = json.loads((path / "run.json").read_text())
    del record["regularization"]
    record["settings"]["model"]["standardize"] = True
    (path / "run.json").write_text(json.dumps(record))
    old = lapsi.load_run(path)
    assert old.provenance.regularization is None
    assert "Regularisation" not in run("show", path).stdout
    assert np.array_equal(old.lsi, scores.lsi)
