"""What a person would look at of the items of a map-style data set: their images, or their texts."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any, final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lapsi.data.samples import (
    IMAGE,
    SHOWN_AT_MOST,
    TEXT,
    Content,
    ImageFiles,
    checked_texts,
    decode_image,
    image_arrays,
)
from lapsi.errors import InputError, first_line

TEXT_FIELDS = ("text", "sentence", "content", "review")
IMAGE_FIELDS = ("image", "img", "pixel_values")
CHANNELS = (1, 3)
LOOKED_AT = 32  # items whose values tell the range of all


@final
@dataclass(frozen=True, slots=True, eq=False)
class ItemImages(Content):
    """The images of items, read one by one.

    Attributes:
        dataset: map-style.
        field: name of the image in an item, or its place.
        low, high: of the numbers of images that are no bytes, drawn as black and white.
    """

    kind = IMAGE
    dataset: Any
    field: str | int
    low: float
    high: float

    def __len__(self) -> int:
        return len(self.dataset)

    def name(self, position: int) -> str:
        return f"item {position}"

    def read(self, position: int) -> bytes:
        held = io.BytesIO()
        _picture(self.dataset[position][self.field], self.low, self.high).save(held, "PNG")
        return held.getvalue()

    def require(self, position: int) -> None:
        """All are there until they are read."""

    @property
    def decode(self) -> Callable[[bytes], Image.Image]:
        return decode_image


def content_of_values(values: Any, kind: str) -> Content:
    """The images or texts of a list.

    Args:
        values: texts; or paths of images, images of Pillow, or an array (N, height, width[, 3]) uint8.
        kind: `IMAGE` or `TEXT`.

    Raises:
        InputError: for one by itself, or anything else.
    """
    if isinstance(values, str | bytes):
        if os.path.isdir(values):
            raise InputError(
                f"{os.fsdecode(values)} is a folder; expected a list of {kind}s: list its files, or embed it with "
                "'lapsi embed FOLDER'."
            )
        raise InputError(f"One {kind} was passed by itself; expected a list of them.")
    if isinstance(values, Mapping) or not isinstance(values, Iterable):
        raise InputError(f"The {kind}s are a {type(values).__name__}; expected a list of them.")
    several = values if isinstance(values, np.ndarray) else list(values)
    if kind == TEXT:
        return checked_texts(list(several), "The texts")
    if len(several) == 0 or isinstance(several[0], str | Path):
        return ImageFiles([Path(path) for path in several])
    if not isinstance(several, np.ndarray) and several and all(isinstance(image, Image.Image) for image in several):
        return ItemImages([(image,) for image in several], 0, 0.0, 255.0)
    return image_arrays(several)


def name_images(values: list[Any]) -> bool:
    """Whether the values are paths of images: strings that all end as the names of image files do, and name files.

    Raises:
        InputError: when all end so but some name no file.
    """
    suffixes = Image.registered_extensions()
    if not all(isinstance(value, str) and Path(value).suffix.lower() in suffixes for value in values):
        return False
    missing = [value for value in values if not os.path.isfile(value)]
    if missing:
        raise InputError(
            f"The {len(values):,} strings look like paths of images, but {len(missing):,} name no file, the first "
            f"{shorten(missing[0], SHOWN_AT_MOST)!r}; mend the paths, or say what they are: images='path' or texts='text'."
        )
    return True


def content_of(dataset: Any) -> Content | None:
    """The images or texts of a data set, by the type and name of what its first item holds; None where it has neither."""
    field = _field(dataset[0], TEXT_FIELDS, lambda value: isinstance(value, str))
    if field is not None:
        return checked_texts([item_at(dataset, position, field) for position in range(len(dataset))], "The data set")
    field = _field(dataset[0], IMAGE_FIELDS, _is_image)
    if field is None:
        return None
    low, high = _range(dataset, field)
    return ItemImages(dataset, field, low, high)


def item_at(dataset: Any, position: int, field: str | int) -> Any:
    """What an item holds under a name or at a place.

    Raises:
        InputError: when it cannot be read, whatever its data set raises, or holds no such thing.
    """
    try:
        return dataset[position][field]
    except Exception as error:
        what = f"({type(error).__name__}: {first_line(error)})"
        raise InputError(f"Item {position} of the data set cannot be read {what}; mend it, or leave it out.") from error


def _range(dataset: Any, field: str | int) -> tuple[float, float]:
    """The least and the largest of the finite numbers of some images; items that cannot be read are told when they are."""
    ends = []
    for row in np.linspace(0, len(dataset) - 1, min(LOOKED_AT, len(dataset))):
        with suppress(InputError):
            value = item_at(dataset, int(row), field)
            finite = _numbers(value)[np.isfinite(_numbers(value))] if isinstance(value, Tensor | np.ndarray) else np.empty(0)
            ends += [float(finite.min()), float(finite.max())] if finite.size else []
    return min(ends, default=0.0), max(ends, default=255.0)


def _field(item: Any, names: tuple[str, ...], fits: Callable[[Any], bool]) -> str | int | None:
    """Where an item holds what fits: under one of the names, or first in a tuple."""
    if isinstance(item, Mapping):
        return next((name for name in names if name in item and fits(item[name])), None)
    return 0 if isinstance(item, tuple | list) and len(item) > 0 and fits(item[0]) else None


def _is_image(value: Any) -> bool:
    """A picture of Pillow, or numbers (c, h, w), (h, w, c) or (h, w), of 1 or 3 channels."""
    if isinstance(value, Image.Image):
        return True
    if not isinstance(value, Tensor | np.ndarray) or value.ndim not in (2, 3) or min(value.shape[-2:]) < 1:
        return False
    return value.ndim == 2 or value.shape[0] in CHANNELS or value.shape[2] in CHANNELS


def _numbers(value: Any) -> np.ndarray:
    return value.detach().cpu().float().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _picture(value: Any, low: float, high: float) -> Image.Image:
    if isinstance(value, Image.Image):
        return value.convert("RGB")
    if not isinstance(value, Tensor | np.ndarray):
        raise ValueError(f"it holds a {type(value).__name__} where an image is expected")
    numbers = _numbers(value)
    if not np.isfinite(numbers).all():
        raise ValueError("its numbers are not all finite")
    if numbers.ndim == 3:
        numbers = np.moveaxis(numbers, 0, 2) if numbers.shape[0] in CHANNELS else numbers
        numbers = numbers[:, :, 0] if numbers.shape[2] == 1 else numbers
    if not (isinstance(value, Tensor) and value.dtype == torch.uint8) and numbers.dtype != np.uint8:
        numbers = np.clip(255 * (numbers - low) / (high - low or 1.0), 0, 255)
    return Image.fromarray(numbers.astype(np.uint8)).convert("RGB")
