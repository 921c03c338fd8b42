"""Values that are the same when they are read again, and values that are not."""

import numpy as np
import pytest
import torch

from lapsi.data.same_twice import differ

NAN = float("nan")


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([1.0, NAN]),
        torch.ones(2, dtype=torch.bfloat16),
        np.array([[1.0, NAN]]),
        np.array(["a", "b"]),
        {"x": [1, 2.5, NAN], "y": ("text", None, np.int64(3))},
        torch.empty(0),
        True,
    ],
)
def test_a_value_is_itself(value):
    assert not differ(value, value)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (torch.tensor([1.0]), torch.tensor([2.0])),
        (torch.tensor([1.0]), torch.tensor([NAN])),
        (torch.ones(2), torch.ones(3)),
        (torch.ones(2), np.ones(2)),
        (np.array([1, 2]), np.array([1, 3])),
        ({"x": 1}, {"y": 1}),
        ({"x": [1, 2]}, {"x": [1, 3]}),
        ((1, 2), (1, 2, 3)),
        ("a", "b"),
        (1.0, NAN),
        (1, None),
    ],
)
def test_values_that_differ(first, second):
    assert differ(first, second)


def test_of_what_is_unknown_nothing_is_said():
    assert not differ(object(), object())
