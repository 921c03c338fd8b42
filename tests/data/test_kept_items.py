"""Items of a data set that are read once, as far as a limit goes."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from lapsi.data.kept_items import KeptItems, bytes_of


class Counted:
    """Items of a hundred bytes, and how often each was read."""

    def __init__(self, made=lambda row: (torch.full((25,), float(row)), row)):
        self.reads, self.made = [], made

    def __len__(self):
        return 5

    def __getitem__(self, row):
        self.reads.append(row)
        return self.made(row)


def test_items_are_read_once():
    dataset = Counted()
    items = KeptItems(dataset)
    for _ in range(3):
        assert [items[row][0][0].item() for row in range(len(items))] == [0, 1, 2, 3, 4]
    assert dataset.reads == [0, 1, 2, 3, 4]


def test_a_batch_that_takes_an_entry_out_of_an_item_leaves_what_is_kept():
    items = KeptItems([{"label": 1, "x": 2.0}, {"label": 0, "x": 3.0}])
    assert items[0].pop("label") == 1
    assert items[0] == {"label": 1, "x": 2.0}


def test_what_does_not_fit_is_read_again():
    dataset = Counted()
    items = KeptItems(dataset, 2 * bytes_of(dataset[0]))
    dataset.reads.clear()
    for _ in range(2):
        assert [items[row][1] for row in range(5)] == [0, 1, 2, 3, 4]
    assert dataset.reads == [0, 1, 2, 3, 4, 2, 3, 4]
    assert items.n_bytes == 2 * bytes_of(dataset[0])


def test_open_images_are_read_again():
    dataset = Counted(lambda row: (Image.new("L", (4, 4)), row))
    items = KeptItems(dataset)
    assert items[1][1] == items[1][1] == 1
    assert dataset.reads == [1, 1]


def test_what_was_read_does_not_travel():
    items = KeptItems([np.zeros(1000)] * 3)
    before = len(pickle.dumps(items))
    assert items[1].sum() == 0
    assert len(pickle.dumps(items)) == before
    assert len(pickle.loads(pickle.dumps(items))) == 3


@pytest.mark.parametrize(
    ("item", "least"),
    [
        (torch.zeros(10, dtype=torch.float16), 20),
        ({"a": np.zeros(3), "b": [1, 2, 3], "c": "text"}, 24 + 3 * 28 + 4),
        ((torch.zeros(2), np.int64(1), None), 8),
    ],
)
def test_sizes(item, least):
    assert least <= bytes_of(item) <= least + 400


def test_what_has_no_size():
    assert bytes_of(object()) is None
    assert bytes_of((1, np.array([object()]))) is None
