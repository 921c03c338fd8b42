"""Changes on purpose: what they touch, what they leave, and that they are remembered."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import lapsi
from lapsi.data.corruption import FLIP, HUMAN, LOREM, NOISE, corrupt_dataset, corrupt_samples
from lapsi.data.dataset import make_dataset
from lapsi.data.samples import Samples, Texts, image_arrays
from lapsi.settings.corruption import Corruption

N = 400
RNG = np.random.default_rng(0)
LABELS = np.array(["ant", "bee", "cat", "dog"])[np.arange(N) % 4]
DATA = make_dataset(RNG.normal(size=(N, 5)) * [1, 2, 3, 4, 0], LABELS)


def test_flips():
    changed = corrupt_dataset(DATA, Corruption(flip_labels=0.1, seed=3))
    touched = changed.labels != DATA.labels
    assert touched.sum() == 40
    assert_array_equal(changed.columns["corrupted"], touched)
    assert_array_equal(changed.columns["original_label"], LABELS)
    assert set(changed.columns["corruption"][touched]) == {FLIP}
    assert changed.columns["corruption"][~touched].isna().all()
    assert_array_equal(changed.features, DATA.features)
    assert_array_equal(corrupt_dataset(DATA, Corruption(flip_labels=0.1, seed=3)).labels, changed.labels)
    assert (corrupt_dataset(DATA, Corruption(flip_labels=0.1, seed=4)).labels != changed.labels).any()


def test_flips_go_to_all_other_classes_alike():
    data = make_dataset(np.zeros((30000, 1)) + np.arange(30000)[:, None], np.arange(30000) % 4)
    flipped = corrupt_dataset(data, Corruption(flip_labels=1.0))
    offset = (flipped.labels - data.labels) % 4
    counts = np.bincount(offset, minlength=4)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 10000).max() < 5 * np.sqrt(30000 * 2 / 9)


def test_human_labels():
    human = LABELS.copy()
    human[[3, 7]] = "ant"
    for given in (human, np.searchsorted(DATA.classes, human)):
        changed = corrupt_dataset(DATA, Corruption(human_labels=given))
        assert_array_equal(changed.classes[changed.labels], human)
        assert np.flatnonzero(changed.columns["corrupted"]).tolist() == [3, 7]
        assert changed.columns["corruption"][3] == HUMAN
    for given, message in (
        (human[:5], "5 human labels but 400 samples"),
        (np.full(N, "elk"), "row 0 is 'elk', which is no class"),
    ):
        with pytest.raises(lapsi.InputError, match=message):
            corrupt_dataset(DATA, Corruption(human_labels=given))


def test_noise():
    changed = corrupt_dataset(DATA, Corruption(noise=2.0, noise_classes=("bee", "dog")))
    touched = np.isin(LABELS, ["bee", "dog"])
    assert_array_equal(changed.columns["corrupted"], touched)
    assert set(changed.columns["corruption"][touched]) == {NOISE}
    before = np.asarray(DATA.features)
    added = np.asarray(changed.features) - before
    assert_array_equal(added[~touched], 0)
    assert_array_equal(added[:, 4], 0)  # a constant feature has no deviation
    ratio = added[touched][:, :4].std(0) / (2 * before[:, :4].std(0))
    np.testing.assert_allclose(ratio, 1, atol=5 / np.sqrt(2 * touched.sum()))
    assert_array_equal(changed.labels, DATA.labels)
    assert corrupt_dataset(DATA, Corruption(noise=0.1)).columns["corrupted"].all()
    with pytest.raises(lapsi.InputError, match="names 'elk', which is no class; the classes are ant, bee"):
        corrupt_dataset(DATA, Corruption(noise=1.0, noise_classes=("elk",)))


def texts(n=N):
    words = [f"the review number {row} is " + "long " * (row % 30) for row in range(n)]
    return Samples(Texts(words), LABELS[:n], None, pd.DataFrame({"text": words}), "here")


def test_lorem_ipsum():
    before = texts()
    after = corrupt_samples(before, Corruption(lorem_ipsum=0.25))
    touched = after.columns["corrupted"].to_numpy()
    assert touched.sum() == 100
    replaced = after.columns["text"].to_numpy()
    assert_array_equal(replaced == before.columns["text"].to_numpy(), ~touched)
    assert_array_equal(after.content.values, replaced)
    assert_array_equal(after.labels[~touched], LABELS[~touched])
    assert set(after.labels[touched]) == set(LABELS)
    assert 0.05 < (after.labels[touched] == LABELS[touched]).mean() < 0.5  # random labels hit the old one in a quarter
    lengths = np.array([[len(a), len(b)] for a, b in zip(before.columns["text"], replaced, strict=True)])[touched]
    assert (lengths[:, 1] <= np.maximum(lengths[:, 0], 40)).all()
    assert np.corrcoef(lengths.T)[0, 1] > 0.7
    again = corrupt_samples(texts(), Corruption(lorem_ipsum=0.25))
    assert_array_equal(again.columns["text"], replaced)


def test_lorem_ipsum_is_for_texts():
    images = Samples(image_arrays(np.zeros((4, 2, 2), np.uint8)), LABELS[:4], None, pd.DataFrame(index=range(4)), "here")
    with pytest.raises(lapsi.InputError, match="replaces texts, but the samples are images"):
        corrupt_samples(images, Corruption(lorem_ipsum=0.5))
    with pytest.raises(lapsi.InputError, match="replaces texts, but the source holds features"):
        corrupt_dataset(DATA, Corruption(lorem_ipsum=0.5))


def test_several_at_once_are_told_apart():
    one = corrupt_dataset(DATA, Corruption(flip_labels=0.3))
    both = corrupt_dataset(DATA, Corruption(flip_labels=0.3, noise=1.0, noise_classes=("ant",)))
    assert_array_equal(both.labels, one.labels)  # one kind does not move the draws of another
    kinds = set(both.columns["corruption"].dropna())
    assert kinds == {FLIP, NOISE, f"{FLIP}, {NOISE}"}
    assert_array_equal(both.columns["original_label"], LABELS)
    record = Corruption(flip_labels=0.3, noise=1.0, noise_classes=("ant",), seed=2).record()
    assert record == {"flip_labels": 0.3, "noise": 1.0, "noise_classes": ["ant"], "seed": 2}
    assert Corruption().record() == {}


def test_nothing_asked_nothing_changed():
    assert corrupt_dataset(DATA, Corruption()) is DATA
    samples = texts(8)
    assert corrupt_samples(samples, Corruption()) is samples


def test_lorem_reaches_the_scores():
    samples = corrupt_samples(texts(), Corruption(lorem_ipsum=0.25))
    dataset = samples.with_features(RNG.normal(size=(N, 3)), np.arange(N))
    dataset = corrupt_dataset(dataset, Corruption(lorem_ipsum=0.25, flip_labels=0.1))
    scores = lapsi.score(dataset.features, dataset.classes[dataset.labels], columns=dataset.columns, verify=0, progress=False)
    table = scores.to_pandas()
    assert table["corrupted"].sum() == (table["corruption"].notna()).sum() > 100
    assert LOREM in set(table["corruption"].dropna())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flip_labels": 1.5}, "flip_labels is 1.5; expected a share"),
        ({"flip_labels": -0.1}, "flip_labels is -0.1"),
        ({"lorem_ipsum": 2}, "lorem_ipsum is 2; expected a share"),
        ({"noise": -1}, "noise is -1"),
        ({"noise_classes": ("a",)}, "noise_classes was given without noise"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(lapsi.InputError, match=message):
        Corruption(**settings)
