"""Raw labelled samples: images or texts, before any features."""

from __future__ import annotations

import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any, TypeVar, final

import numpy as np
import pandas as pd
from PIL import Image, ImageOps

from lapsi.data.blocks import Blocks
from lapsi.data.dataset import Dataset, make_dataset
from lapsi.errors import InputError

IMAGE, TEXT = "image", "text"
SKIP_OPTION = "--skip-bad"
NAMED_AT_MOST = 5
SHOWN_AT_MOST = 60  # signs of a value in a message
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError)  # what Pillow raises on damaged files

T = TypeVar("T")


class Content(ABC):
    """What N samples consist of, read one by one when it is needed; `kind` is `IMAGE` or `TEXT`."""

    kind: str

    @abstractmethod
    def __len__(self) -> int:
        """N."""

    @abstractmethod
    def name(self, position: int) -> str:
        """How a sample is called in messages, e.g. its path."""

    @abstractmethod
    def read(self, position: int) -> bytes:
        """All that makes up a sample: equal bytes, equal sample.

        Raises:
            OSError: when it cannot be read.
        """

    @abstractmethod
    def require(self, position: int) -> None:
        """Refuses what needs no reading to be known unreadable, such as a file that is missing; cheap.

        Raises:
            OSError: when it cannot be read.
        """

    @property
    @abstractmethod
    def decode(self) -> Callable[[bytes], Any]:
        """Makes an RGB image of Pillow, or a string, from the bytes of a sample, and holds none of the samples.

        It raises one of `UNREADABLE` when a sample is damaged.
        """


@final
@dataclass(frozen=True, slots=True)
class ImageFiles(Content):
    """Images in files of their own.

    Attributes:
        paths: (N,) of the samples; None where the source holds none.
    """

    kind = IMAGE
    paths: Sequence[Path | None]

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, position: int) -> str:
        path = self.paths[position]
        return f"image {position}" if path is None else str(path)

    def read(self, position: int) -> bytes:
        return read_file(present(self.paths[position]))

    def require(self, position: int) -> None:
        require_regular(present(self.paths[position]))

    @property
    def decode(self) -> Callable[[bytes], Image.Image]:
        return decode_image


@final
@dataclass(frozen=True, slots=True)
class EncodedImages(Content):
    """Images as files hold them (JPEG, PNG, …), wherever these lie.

    Attributes:
        names: (N,) of the samples.
        fetch: the bytes of the sample at a position.
    """

    kind = IMAGE
    names: Sequence[str]
    fetch: Callable[[int], bytes]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, position: int) -> str:
        return self.names[position]

    def read(self, position: int) -> bytes:
        return self.fetch(position)

    def require(self, position: int) -> None:
        """All are there until they are read."""

    @property
    def decode(self) -> Callable[[bytes], Image.Image]:
        return decode_image


@final
@dataclass(frozen=True, slots=True, eq=False)
class ImageArrays(Content):
    """Images as one array (N, height, width) or (N, height, width, 3) uint8."""

    kind = IMAGE
    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.pixels)

    def name(self, position: int) -> str:
        return f"image {position}"

    def read(self, position: int) -> bytes:
        return self._shape + self.pixels[position].tobytes()

    def require(self, position: int) -> None:
        """All are there until they are read."""

    @property
    def decode(self) -> Callable[[bytes], Image.Image]:
        return partial(_decode_pixels, self.pixels.shape[1:], len(self._shape))

    @property
    def _shape(self) -> bytes:
        """The same pixels in another shape are another image."""
        return repr(self.pixels.shape[1:]).encode()


@final
@dataclass(frozen=True, slots=True)
class Texts(Content):
    """Texts, in memory or in a column that reads them from disk; None where the source holds none."""

    kind = TEXT
    values: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.values)

    def name(self, position: int) -> str:
        return f"text {position}"

    def read(self, position: int) -> bytes:
        return present(self.values[position]).encode("utf-8", "surrogatepass")

    def require(self, position: int) -> None:
        present(self.values[position])

    @property
    def decode(self) -> Callable[[bytes], str]:
        return _decode_text


def present(value: T | None) -> T:
    """What a row of a source holds.

    Raises:
        OSError: when that is nothing.
    """
    if value is None:
        raise OSError("the row holds nothing")
    return value


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: None or NaN."""
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def require_regular(path: str | Path) -> None:
    """Refuses what is read without an end, or never: pipes, devices, sockets.

    Raises:
        OSError: when the path is no regular file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is no regular file")


def read_file(path: str | Path) -> bytes:
    """All bytes of a file.

    Raises:
        OSError: when it cannot be read, or is no regular file.
    """
    require_regular(path)
    return Path(path).read_bytes()


def tell_unreadable(bad: Sequence[tuple[str, str]], what: str, *, skip: str = SKIP_OPTION, is_all: bool = True) -> str:
    """The message about names that cannot be read, each with its reason.

    `what`: of which they are; `skip`: the option or argument that leaves them out, or ""; `is_all`: there are no others.
    """
    shown = "; ".join(f"{name} ({reason})" for name, reason in bad[:NAMED_AT_MOST])
    more = f" and {len(bad) - NAMED_AT_MOST:,} more" if len(bad) > NAMED_AT_MOST else ""
    way = f"; {skip} leaves them out" if skip else ""
    count = f"{len(bad):,}" if is_all else f"At least {len(bad):,}"
    return f"{count} of the {what} cannot be read: {shown}{more}. Mend or remove them{way}."


def _decode_text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def _decode_pixels(shape: tuple[int, ...], offset: int, raw: bytes) -> Image.Image:
    """From what follows after `offset` bytes."""
    return Image.fromarray(np.frombuffer(raw, np.uint8, offset=offset).reshape(shape)).convert("RGB")


def decode_image(raw: bytes) -> Image.Image:
    """An RGB image from the bytes of a file, turned as its EXIF says; grey values of 16 bits are scaled to 8.

    Raises:
        One of `UNREADABLE`: when it is damaged, or its pixels have no range that is known.
    """
    with Image.open(io.BytesIO(raw)) as image:
        if 0 in image.size:
            raise ValueError(f"it has {image.width} × {image.height} pixels")
        if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
            wide = np.asarray(image).astype(np.float64)
            return ImageOps.exif_transpose(Image.fromarray(np.rint(wide / 257).astype(np.uint8))).convert("RGB")
        if image.mode in ("I", "F"):
            raise ValueError(f"its pixels are of mode {image.mode}, whose range is unknown; convert it to 8 or 16 bits")
        return ImageOps.exif_transpose(image).convert("RGB")


def image_arrays(values: Any) -> ImageArrays:
    """Images of an array.

    Raises:
        InputError: for anything but uint8 of shape (N, height, width) or (N, height, width, 3), or images without pixels.
    """
    try:
        pixels = np.asarray(values)
    except ValueError as error:
        raise InputError(f"The images make no array ({error}); give all of them one size, or pass paths of files.") from error
    if pixels.dtype != np.uint8 or pixels.ndim not in (3, 4) or (pixels.ndim == 4 and pixels.shape[3] != 3):
        raise InputError(
            f"The images are an array of shape {pixels.shape} and dtype {pixels.dtype}; expected uint8 of shape "
            "(n_samples, height, width, 3), or without the 3 for grey values."
        )
    if len(pixels) > 0 and pixels.size == 0:
        raise InputError(f"The images are an array of shape {pixels.shape}, without a pixel; expected at least 1 × 1.")
    return ImageArrays(pixels)


def checked_texts(values: Sequence[Any], place: str) -> Texts:
    """Texts in memory, some of which may be missing.

    Raises:
        InputError: when one is no string, naming `place`.
    """
    held = [None if is_missing(value) else value for value in values]
    for row, value in enumerate(held):
        if isinstance(value, bytes) or (isinstance(value, str) and not _is_utf8(value)):
            raise InputError(f"{place}: row {row} is no text in UTF-8; save it in UTF-8.")
        if value is not None and not isinstance(value, str):
            shown = shorten(repr(value), SHOWN_AT_MOST)
            raise InputError(f"{place}: row {row} holds {shown} where a text is expected; remove the row or fill it in.")
    return Texts(held)


def _is_utf8(text: str) -> bool:
    """Whether it has no half of a surrogate pair, which no file keeps."""
    return text.encode("utf-8", "replace").decode() == text


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """N labelled images or texts.

    Attributes:
        content: the images or texts.
        labels: (N,) as given.
        ids: (N,) unique identifiers, or None to number the samples.
        columns: (N rows) what travels along to the scores, see `lapsi.data.dataset.CARRIED`.
        source: where they come from.
        licence: what the source says of its terms, or "".
        unread: name and reason of each part of the source that could not be read and is left out, as was asked for.
        weights: (N,) how often each sample counts; None: once.
        task: what the labels are, as `make_dataset` takes it.
        said: where the samples were found, if that is not where they were looked for; else "".
        rows: (N,) position of each in its source, ascending; None: all of it.
        n_source: samples of the source; None: N.
    """

    content: Content
    labels: np.ndarray
    ids: np.ndarray | None
    columns: pd.DataFrame
    source: str
    licence: str = ""
    unread: tuple[tuple[str, str], ...] = ()
    weights: np.ndarray | None = None
    task: str | None = None
    said: str = ""
    rows: np.ndarray | None = None
    n_source: int | None = None

    def with_features(self, features: np.ndarray | Blocks, kept: np.ndarray, features_hash: str = "") -> Dataset:
        """The data set of the samples at positions `kept` (n,), whose features are (n, d)."""
        ids = np.arange(len(self.labels)) if self.ids is None else self.ids
        columns = self.columns.iloc[kept].reset_index(drop=True)
        known = {"ids": ids[kept], "weights": None if self.weights is None else self.weights[kept], "task": self.task}
        dataset = make_dataset(features, self.labels[kept], columns=columns, source=self.source, **known)
        rows = kept if self.rows is None else self.rows[kept]
        return replace(dataset, rows=rows, n_source=self.n_source or len(self.labels), features_hash=features_hash)
