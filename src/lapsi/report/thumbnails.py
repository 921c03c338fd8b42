"""Small pictures of samples, for as many as the page has room for: those that the galleries show first, then at random."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from lapsi.data.blocks import Blocks
from lapsi.data.samples import UNREADABLE, Content, decode_image, read_file
from lapsi.report.packing import pack
from lapsi.results.scores import Scores

SIDE = 96
QUALITY = 72
FIRST = 48  # samples of each gallery that get a picture before any random one
LARGEST_SQUARE = 32**2
SKETCH_BARS = 64
FARTHEST = 3.0  # deviations that a bar shows
PER_PICTURE = 16  # bytes around each picture: its row number, quotes, a comma

Picture = Callable[[int], bytes | None]


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """Pictures of some samples.

    Attributes:
        kind: "image" (encoded files), "pixels" (grey images from features), "bars" (features), or "none".
        rows: (m,) positions in the table that have a picture.
        data: (m,) bytes each.
        unreadable: samples whose image is missing or damaged, of those tried.
        shape: width and height of "pixels", number of "bars", else empty.
    """

    kind: str
    rows: list[int]
    data: list[bytes]
    unreadable: int
    shape: tuple[int, ...] = ()

    def embed(self, positions: dict[int, int]) -> dict[str, Any]:
        """Plain JSON values; `positions` maps a row of the table to a row of the page."""
        record = {"kind": self.kind, "shape": list(self.shape), "rows": [positions[row] for row in self.rows]}
        if self.kind == "image":
            return record | {"images": [base64.b64encode(data).decode("ascii") for data in self.data]}
        return record | {"values": pack(np.frombuffer(b"".join(self.data), np.uint8))}


NO_PICTURES = Pictures("none", [], [], 0)


def gallery_order(scores: Scores, rows: np.ndarray, seed: int = 0) -> Iterator[int]:
    """All of `rows`: both ends of LSI, the least trusted targets, both ends of every part in turn, then the rest at random."""
    lsi, quality = scores.lsi[rows], scores.table["label_quality"].to_numpy()[rows]
    order = np.argsort(lsi, kind="stable")
    lists = [order[:FIRST], order[::-1][:FIRST], np.argsort(quality, kind="stable")[:FIRST]]
    places = np.empty(len(rows), dtype=np.int64)
    places[order] = np.arange(len(order))
    parts = scores.evidence.parts(scores.table.iloc[rows], scores.outputs)
    by_part = [part[np.argsort(places[part])] for _, part in parts]
    ends = [end for part in by_part for end in (part[:FIRST], part[::-1][:FIRST])]
    lists += [np.array([end[place] for end in ends if place < len(end)], dtype=np.int64) for place in range(FIRST)]
    lists.append(np.random.default_rng(seed).permutation(len(rows)))
    seen: set[int] = set()
    for part in lists:
        for position in part.tolist():
            if position not in seen:
                seen.add(position)
                yield int(rows[position])


def content_pictures(content: Content, positions: np.ndarray) -> Picture:
    """Thumbnails of images that are at hand; row i of the table is the sample at `positions[i]`."""

    def picture(row: int) -> bytes | None:
        try:
            return encode(content.decode(content.read(int(positions[row]))))
        except UNREADABLE:
            return None

    return picture


def file_pictures(paths: list[str]) -> Picture:
    """Thumbnails of image files; "" for a sample without one."""

    def picture(row: int) -> bytes | None:
        if not paths[row]:
            return None
        try:
            return encode(decode_image(read_file(paths[row])))
        except UNREADABLE:
            return None

    return picture


def encode(image: Image.Image) -> bytes:
    """A picture of at most `SIDE` pixels a side as WebP; small ones keep every pixel."""
    small = max(image.size) <= SIDE // 2
    image = image.copy()
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", lossless=small, quality=QUALITY, method=4)
    return buffer.getvalue()


def collect_images(order: Iterator[int], picture: Picture, budget: int) -> Pictures:
    """Pictures in this order until `budget` bytes (as they stand in the page) are spent."""
    rows, data, spent, unreadable = [], [], 0, 0
    for row in order:
        encoded = picture(row)
        if encoded is None:
            unreadable += 1
            continue
        spent += 4 * -(-len(encoded) // 3) + PER_PICTURE
        if spent > budget:
            break
        rows.append(row)
        data.append(encoded)
    return Pictures("image", rows, data, unreadable)


def _deviations(rows: np.ndarray) -> np.ndarray:
    """(m, d) from the mean of each feature, in its standard deviations, at most `FARTHEST`; 0 for one that is constant."""
    away, spread = rows - rows.mean(0), rows.std(0)
    return np.clip(away / np.where(spread > 0, spread, 1.0), -FARTHEST, FARTHEST)


def feature_sketches(features: Blocks, order: Iterator[int], budget: int) -> Pictures:
    """Rows of features (n, d) as grey images where d is a small square, else as bars, each feature in its own deviations."""
    n, d = features.shape
    side = round(d**0.5)
    square = side > 2 and side * side == d and d <= LARGEST_SQUARE
    edges = np.linspace(0, d, min(d, SKETCH_BARS) + 1).astype(int)
    n_values = d if square else len(edges) - 1
    room = max(0, int(budget / (n_values * 4 / 3 + PER_PICTURE)))
    rows = [row for row, _ in zip(order, range(min(room, n)), strict=False)]
    chosen = features.read(np.array(rows, dtype=np.int64)).astype(np.float64)
    if not square:
        chosen = np.add.reduceat(_deviations(chosen), edges[:-1], axis=1) / np.diff(edges) if rows else np.zeros((0, n_values))
    low, high = (chosen.min(), chosen.max()) if chosen.size else (0.0, 0.0)
    if not square:  # bars start at zero
        low, high = min(low, 0.0), max(high, 0.0)
    grey = np.zeros(chosen.shape) if high == low else (chosen - low) / (high - low) * 255
    zero = 0 if high == low else round(-low / (high - low) * 255)
    shape = (side, side) if square else (n_values, zero)
    return Pictures("pixels" if square else "bars", rows, [row.tobytes() for row in np.round(grey).astype(np.uint8)], 0, shape)
