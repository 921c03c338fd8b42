"""Verdicts follow from numbers, both ways, in every experiment."""

import copy
import math

import numpy as np
import pytest

from experiments import (
    class_informativeness,
    dataset_size,
    distributions,
    during_training,
    hessian_structures,
    human_labels,
    label_noise,
    learnability,
    other_measures,
    pairs,
    privacy,
    probe_vs_network,
    riemann,
    sam,
    text_corruption,
    times,
    trak,
    transfer,
)
from experiments.verdicts import CODE, FAILS, HOLDS, PAPER, PARTLY, UNTESTED, WAYS, Check, Verdict, shown


def kept(median, spread=2.0, mean=None):
    """What `described` gives of values around a median."""
    wide = spread**2
    quantiles = {"q5": median / wide, "q25": median / spread, "q50": median, "q75": median * spread, "q95": median * wide}
    return {"n": 10, "mean": 2 * median if mean is None else mean, **quantiles}


def words(module, numbers, recipe=PAPER):
    return [verdict.word for verdict in module.judge(numbers) if verdict.recipe == recipe]


@pytest.mark.parametrize(
    ("values", "word"),
    [((2.0, 3.0), HOLDS), ((2.0, 0.5), PARTLY), ((0.5, 0.1), FAILS), ((2.0, math.nan), UNTESTED), ((), UNTESTED)],
)
def test_the_word_follows_from_the_checks(values, word):
    verdict = Verdict("c", "p", tuple(Check("v", value, ">", 1.0) for value in values))
    assert verdict.word == word


@pytest.mark.parametrize(
    ("relation", "value", "passed"),
    [
        ("≥", 1.0, True),
        ("≥", 0.9, False),
        ("≤", 1.0, True),
        ("≤", 1.1, False),
        (">", 1.0, False),
        ("<", 1.0, False),
        ("<", 0.9, True),
    ],
)
def test_relations(relation, value, passed):
    assert Check("v", value, relation, 1.0).passed is passed


def test_a_number_at_its_bound_is_there_whatever_its_last_bit_says():
    just_below = float(np.nextafter(0.9, 0))
    assert Check("v", just_below, "≥", 0.9).passed
    assert not Check("v", just_below, "<", 0.9).passed
    assert not Check("v", 0.9 - 1e-9, "≥", 0.9).passed


def test_a_verdict_says_its_rule_and_its_numbers():
    verdict = Verdict("c", "p", (Check("ratio", 2.345, "≥", 2.0), Check("AUROC", 0.4, "≥", 0.8)))
    assert verdict.ours == "ratio 2.35; AUROC 0.4"
    assert verdict.why == "ratio 2.35 ≥ 2: yes; AUROC 0.4 ≥ 0.8: no"
    assert Verdict("c", "p", untested="no data").why == "no data"
    assert Verdict("c", "p", (Check("ratio", math.nan, "≥", 2.0),)).why == "ratio has no value"
    assert verdict.to_dict()["checks"] == [["ratio", 2.345, "≥", 2.0], ["AUROC", 0.4, "≥", 0.8]]


def test_numbers_are_shown_short():
    assert [shown(value) for value in (0.0, 0.12345, 1234.5, 1e-5, math.nan)] == ["0", "0.123", "1,234", "1.0e-05", "unknown"]


def test_distributions():
    sets = {"cifar10": kept(1), "cifar100": kept(2), "imagenette": kept(8), "imagewoof": kept(9)}
    numbers = {"sets": sets, "skewness": dict.fromkeys(sets, 4.0), CODE: {"name": "cifar10", **kept(1), "skewness": 3.0}}
    assert words(distributions, numbers) == [HOLDS, HOLDS, HOLDS, UNTESTED, HOLDS]
    assert words(distributions, numbers, CODE) == [HOLDS]
    numbers["skewness"] = dict.fromkeys(sets, 0.0)
    numbers["sets"] = {name: kept(10 - each["q50"], mean=10 - each["q50"]) for name, each in sets.items()}
    assert words(distributions, numbers) == [FAILS, FAILS, FAILS, UNTESTED, FAILS]


def test_label_noise():
    good = {"right labels": kept(1), "flipped labels": kept(9), "auroc": 0.95, "above_all_right": 0.1}
    bad = {"right labels": kept(1), "flipped labels": kept(1.1), "auroc": 0.55, "above_all_right": 0.0}
    assert words(label_noise, {"sets": {"a": good, "b": good}, CODE: bad}) == [HOLDS, HOLDS]
    assert words(label_noise, {"sets": {"a": good, "b": bad}, CODE: bad}) == [PARTLY, PARTLY]
    assert words(label_noise, {"sets": {"a": bad}, CODE: good}, CODE) == [HOLDS]
    assert words(label_noise, {"sets": {"a": bad}, CODE: bad | {"auroc": None}}, CODE) == [UNTESTED]
    assert words(label_noise, {"sets": {"a": bad}, CODE: good}) == [FAILS, FAILS]


def test_human_labels():
    right, people, random = (
        kept(1),
        {"right": kept(1), "wrong": kept(4), "auroc": 0.9},
        {"right": kept(1), "wrong": kept(9), "auroc": 0.95},
    )
    kinds = {human_labels.HUMAN: people, human_labels.RANDOM: random}
    assert words(human_labels, {"by_people": True, "kinds": kinds}) == [HOLDS, HOLDS]
    assert words(human_labels, {"by_people": False, "kinds": kinds}) == [UNTESTED, UNTESTED]
    kinds = {
        human_labels.HUMAN: {"right": right, "wrong": kept(0.5), "auroc": 0.4},
        human_labels.RANDOM: people | {"wrong": kept(0.4)},
    }
    assert words(human_labels, {"by_people": True, "kinds": kinds}) == [FAILS, FAILS]


def test_text_corruption():
    def numbers(flipped, lorem, lorem_spread):
        return {
            "kinds": {
                "flipped labels": {"as found": kept(1), "flipped labels": kept(flipped), "auroc": 0.9 if flipped > 1 else 0.4},
                "lorem ipsum": {"as found": kept(1, 4.0), "lorem ipsum": kept(lorem, lorem_spread), "auroc": 0.5},
            }
        }

    assert words(text_corruption, numbers(9, 2, 1.2)) == [HOLDS, HOLDS, HOLDS]
    assert words(text_corruption, numbers(9, 50, 4.0)) == [HOLDS, PARTLY, FAILS]
    assert words(text_corruption, numbers(0.5, 0.01, 4.0)) == [FAILS, PARTLY, HOLDS]


def test_class_informativeness():
    def numbers(alike, means, above):
        levels = {f"{level}": kept(1, mean=mean) | {"above": above} for level, mean in enumerate(means)}
        classes = {"car": kept(1), "cat": kept(alike), "dog": kept(alike)}
        return {"roles": {"distinct": ["car"], "alike": ["cat", "dog"]}, "classes": classes, "noise": {"car": levels}}

    assert words(class_informativeness, numbers(3.0, (1, 2, 3), 0.5)) == [HOLDS, HOLDS]
    assert words(class_informativeness, numbers(0.5, (1, 3, 2), 0.5)) == [FAILS, PARTLY]
    assert words(class_informativeness, numbers(0.5, (3, 2, 1), 0.1)) == [FAILS, FAILS]


@pytest.mark.parametrize(("times_higher", "word"), [(9.0, HOLDS), (1.1, PARTLY), (99.0, PARTLY), (0.5, FAILS)])
def test_dataset_size(times_higher, word):
    parts = {dataset_size.WHOLE: kept(1), dataset_size.PART: kept(times_higher)}
    assert words(dataset_size, {PAPER: parts, CODE: parts, "times_smaller": 10.0}) == [word]
    assert words(dataset_size, {PAPER: parts, CODE: parts, "times_smaller": 10.0}, CODE) == [word]


def test_during_training():
    early = {"epoch": [10, 20, 50, 100], "spearman": [0.2, 0.9, 0.97, 1.0]}
    late = {"epoch": [10, 20, 50, 100], "spearman": [0.2, 0.3, 0.4, 0.9]}
    assert words(during_training, {PAPER: early, CODE: late}) == [HOLDS]
    assert words(during_training, {PAPER: early, CODE: late}, CODE) == [FAILS]


def test_hessian_structures():
    numbers = {PAPER: {"diag, kfac": 0.95, "diag, full": 0.99}, CODE: {"diag, kfac": 0.95, "diag, kfac, shift alone": None}}
    assert words(hessian_structures, numbers) == [HOLDS]
    assert words(hessian_structures, numbers, CODE) == [UNTESTED]
    assert words(hessian_structures, numbers | {PAPER: {"diag, kfac": 0.2, "diag, full": 0.99}}) == [PARTLY]


def test_other_measures():
    def numbers(psmi, sui, between):
        return {"spearman": {"lsi, psmi": psmi, "lsi, sui": sui, "psmi, sui": between}}

    assert words(other_measures, numbers(0.8, 0.3, -0.1)) == [HOLDS, HOLDS, HOLDS]
    assert words(other_measures, numbers(-0.8, 0.9, -0.6)) == [FAILS, FAILS, FAILS]
    assert words(other_measures, numbers(-0.1, None, 0.5)) == [FAILS, UNTESTED, FAILS]


@pytest.mark.parametrize(("found", "word"), [(0.15, HOLDS), (0.8, FAILS), (-0.8, FAILS), (None, UNTESTED)])
def test_trak(found, word):
    assert words(trak, {"spearman": found}, CODE) == [word]


def thirds(low, mid, high):
    """Curves that end at (train, test) accuracies."""
    return {
        name: {"epoch": [0, 1], "train": [0.1, train], "test": [0.1, test]}
        for name, (train, test) in {"low": low, "mid": mid, "high": high}.items()
    }


def test_learnability():
    as_told, other_way = thirds((1.0, 0.7), (0.9, 0.8), (0.6, 0.4)), thirds((0.5, 0.5), (0.7, 0.1), (0.9, 0.9))
    numbers = {"sets": {"a": {PAPER: as_told, CODE: other_way}}}
    assert words(learnability, numbers) == [HOLDS, HOLDS, HOLDS]
    assert words(learnability, numbers, CODE) == [FAILS, FAILS, FAILS]
    everything_fits, mid_too = thirds((1.0, 0.7), (1.0, 0.8), (1.0, 0.6)), thirds((1.0, 0.7), (1.0, 0.8), (0.6, 0.4))
    assert words(learnability, {"sets": {"a": {PAPER: everything_fits, CODE: as_told}}})[0] == PARTLY
    assert words(learnability, {"sets": {"a": {PAPER: mid_too, CODE: as_told}}})[0] == PARTLY


def test_transfer():
    as_told, other_way = thirds((1.0, 0.7), (0.9, 0.75), (0.6, 0.4)), thirds((0.5, 0.5), (0.7, 0.1), (0.9, 0.9))
    numbers = {"networks": {PAPER: {"ResNet-9": as_told, "MLP": other_way}, CODE: {"ResNet-9": other_way, "MLP": as_told}}}
    assert words(transfer, numbers) == [HOLDS, HOLDS, FAILS, FAILS]
    assert words(transfer, numbers, CODE) == [FAILS, FAILS, HOLDS, HOLDS]


def test_privacy():
    def numbers(medians, spreads, noised):
        clipping = {
            str(level): kept(median, spread) for level, (median, spread) in enumerate(zip(medians, spreads, strict=True))
        }
        part = {"clipping": clipping, "noise": {str(level): kept(median) for level, median in enumerate(noised)}}
        return dict.fromkeys(WAYS, part)

    assert words(privacy, numbers((1, 2, 4), (2, 3, 4), (1, 1.1))) == [HOLDS, HOLDS]
    assert words(privacy, numbers((4, 2, 1), (4, 3, 1.1), (1, 3))) == [FAILS, PARTLY]
    assert words(privacy, numbers((1, 2, 4), (4, 3, 1.01), (1, 1)))[0] == PARTLY
    assert words(privacy, numbers((1, 2, 4, 8), (3, 2.5, 2, 9), (1, 1)))[0] == PARTLY


def test_probe_vs_network():
    good = [[1.0, 0.98, 0.93, 0.9], [0.98, 1.0, 0.9, 0.9], [0.93, 0.9, 1.0, 0.9], [0.9, 0.9, 0.9, 1.0]]
    bad = [[1.0, 0.6, 0.3, 0.9], [0.6, 1.0, 0.4, 0.9], [0.3, 0.4, 1.0, 0.9], [0.9, 0.9, 0.9, 1.0]]
    fitted = {"noise": 0.1, "train_accuracy": 0.97, "spearman": {PAPER: good, CODE: bad}}
    assert words(probe_vs_network, fitted) == [HOLDS, HOLDS]
    assert words(probe_vs_network, fitted, CODE) == [FAILS, FAILS]
    mixed = copy.deepcopy(bad)
    mixed[0][1] = 0.98
    assert words(probe_vs_network, fitted | {"spearman": {PAPER: mixed, CODE: bad}}) == [FAILS, PARTLY]
    assert words(probe_vs_network, fitted | {"noise": 0.6}) == [UNTESTED, UNTESTED]
    assert words(probe_vs_network, fitted | {"train_accuracy": 0.76}) == [UNTESTED, UNTESTED]


def test_sam():
    assert words(sam, {"spearman": {PAPER: 0.95, CODE: 0.5}}) == [HOLDS]
    assert words(sam, {"spearman": {PAPER: 0.95, CODE: 0.5}}, CODE) == [FAILS]


def test_times():
    shape = {"n_samples": 50_000, "asked": 50_000, "closed_form_hours": 0.03, "retraining_hours": 900.0}
    assert words(times, {"sizes": {"CIFAR-10": shape}}) == [HOLDS, FAILS]
    assert words(times, {"sizes": {"CIFAR-10": shape | {"retraining_hours": 90.0, "closed_form_hours": 20.0}}}) == [
        FAILS,
        HOLDS,
    ]
    assert words(times, {"sizes": {"CIFAR-10": shape | {"n_samples": 10}}}) == [UNTESTED, UNTESTED]


def test_riemann():
    def numbers(at_once, correlation, times_exact):
        distances = [{"kl": kl, "mean": mean} for kl, mean in zip((1e-4, 1.0, 100.0), at_once, strict=True)]
        found = {"spearman": correlation, "median_times": times_exact}
        both = {what: dict.fromkeys(("sampled", "riemannian"), value) for what, value in found.items()}
        return {"distances": {"10": [], "500": distances}, **both}

    assert words(riemann, numbers((0.1, 1.1, 300.0), 0.1, 30.0)) == [HOLDS, HOLDS, HOLDS]
    assert words(riemann, numbers((1e-4, 1.1, 300.0), 0.8, 30.0)) == [HOLDS, PARTLY, PARTLY]
    assert words(riemann, numbers((1e-4, 9.0, 101.0), 0.9, 1.1)) == [FAILS, FAILS, FAILS]


def test_pairs():
    found = {"auroc": {"LSI": 0.9, "leave-one-out loss": 0.9}, "spearman": 0.8}
    assert words(pairs, found | {"right pairs": kept(1), "shuffled pairs": kept(4)}) == [HOLDS, HOLDS]
    assert words(pairs, found | {"right pairs": kept(4), "shuffled pairs": kept(1)}) == [PARTLY, HOLDS]
    poor = {"auroc": {"LSI": 0.4, "leave-one-out loss": 0.9}, "spearman": 0.1}
    assert words(pairs, poor | {"right pairs": kept(4), "shuffled pairs": kept(1)}) == [FAILS, FAILS]
