"""Which names in a source of pairs hold what, and what is changed on purpose."""

from __future__ import annotations

from dataclasses import dataclass

from lapsi.settings.corruption import CORRUPTION
from lapsi.settings.extractor import RAW
from lapsi.settings.option import Flag, Integer, Name, Share, Words, check_options, option


@dataclass(frozen=True, slots=True)
class PairSource:
    """Names inside a source; None takes a usual name that it has.

    Attributes:
        images: array or list column with features of images; or column with paths of images, or images.
        texts: array or list column with features of texts; or column with texts.
        captions: column with the texts, where `texts` are features.
        files: column with the files of the images, where `images` are features.
        image_folder: where these lie; None: beside the source.
        ids: column with unique identifiers; None: the pairs are numbered.
        keep: more columns to carry along.
        image_model, text_model: frozen extractors of raw images and texts, as in `ExtractorSettings`.
        skip_bad: whether pairs with an image that cannot be read, or without an image or a caption, are left out.
        rows: how many pairs are taken, for a trial, drawn at random; None: all.
        shuffle_pairs: share of the pairs whose texts change places.
        seed: of that.
    """

    images: str | None = option(None, Name(), "Features of images, or a column with paths of images.")
    texts: str | None = option(None, Name(), "Features of texts, or a column with texts.")
    captions: str | None = option(None, Name(), "Column with the texts, where only their features are scored.")
    files: str | None = option(None, Name(), "Column with the files of the images, where only their features are scored.")
    image_folder: str | None = option(None, Name(), "Where the files lie; default: beside the source.")
    ids: str | None = option(None, Name(), "Column with unique identifiers.")
    keep: tuple[str, ...] = option((), Words(), "More columns to keep beside the scores, with commas.")
    image_model: str | None = option(None, Name(), "Frozen extractor of images; default: microsoft/resnet-18.", panel=RAW)
    text_model: str | None = option(None, Name(), "Frozen extractor of texts; default: bert-base-uncased.", panel=RAW)
    skip_bad: bool = option(False, Flag(), "Leave pairs out that cannot be read, and list them.", panel=RAW)
    rows: int | None = option(
        None, Integer(3, optional=True), "A trial on so many pairs, drawn at random; only these are read and train."
    )
    shuffle_pairs: float = option(0.0, Share(), "Share of the pairs whose texts change places.", panel=CORRUPTION)
    seed: int = option(0, Integer(0), "Seed of that.", panel=CORRUPTION, flag="corruption-seed")

    def __post_init__(self) -> None:
        check_options(self)
