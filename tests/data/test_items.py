"""What a person looks at of the items of a data set."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import TensorDataset

from lapsi.data.items import content_of
from lapsi.data.samples import IMAGE, TEXT

GREY = np.arange(30, dtype=np.uint8).reshape(5, 6)
COLOURS = np.random.default_rng(0).integers(256, size=(5, 6, 3), dtype=np.uint8)


def shown(dataset, position=0):
    content = content_of(dataset)
    assert content.kind == IMAGE
    return np.asarray(content.decode(content.read(position)))


@pytest.mark.parametrize(
    "item",
    [
        (Image.fromarray(COLOURS), 1),
        (torch.from_numpy(COLOURS).permute(2, 0, 1), 1),
        (COLOURS, 1),
        {"label": 1, "image": Image.fromarray(COLOURS)},
        {"labels": 1, "pixel_values": torch.from_numpy(COLOURS).permute(2, 0, 1)},
    ],
)
def test_pictures_are_found_in_items(item):
    assert (shown([item, item]) == COLOURS).all()


def test_grey_values_become_pictures():
    assert (shown([(torch.from_numpy(GREY)[None], 0)]) == GREY[:, :, None]).all()
    assert (shown([(GREY, 0)]) == GREY[:, :, None]).all()


def test_numbers_are_spread_from_black_to_white_over_the_data():
    values = torch.tensor([[[-1.0, 1.0]], [[0.0, 3.0]]])[:, None]
    assert shown(TensorDataset(values, torch.arange(2)), 1)[0, :, 0].tolist() == [63, 255]


def test_texts_are_found_in_items():
    content = content_of([{"text": "one", "label": 0}, {"text": "two", "label": 1}])
    assert content.kind == TEXT
    assert list(content.values) == ["one", "two"]
    assert content_of([("a", 1)]).values == ["a"]


@pytest.mark.parametrize("item", [(torch.randn(4), 1), {"input_ids": [1, 2], "labels": 0}, (torch.randn(2, 5, 5, 5), 0), 3])
def test_what_is_no_picture_is_none(item):
    assert content_of([item, item]) is None
