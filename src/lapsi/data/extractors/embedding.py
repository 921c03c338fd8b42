"""From raw samples to features: read, decoded and prepared in worker threads, embedded in batches, kept in the cache."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lapsi.data.extractors.base import DEFAULT_MODELS, Extractor
from lapsi.data.extractors.cache import FeatureCache, Shard, default_cache, digest_of, empty_features, open_cache
from lapsi.data.extractors.images import image_extractor
from lapsi.data.extractors.texts import text_extractor
from lapsi.data.samples import IMAGE, TEXT, Content, EncodedImages, checked_texts, image_arrays, read_file, tell_unreadable
from lapsi.errors import InputError, first_line
from lapsi.execution.device import require_device
from lapsi.execution.memory import available_bytes
from lapsi.execution.progress import Stages
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.option import Choice

SHARD_ROWS = 512  # what a kill may lose
BATCHES_AHEAD = 2
MAPPED_SHARE = 0.25  # of the memory that is free: larger features stay on disk


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Features of samples.

    Attributes:
        features: (n, d) float32 of the samples that could be read.
        kept: (n,) their positions.
        left_out: position and reason of each that could not be read.
        record: the extractor, the cache, and how many samples came from there or were left out; plain JSON values.
        digest: hash of the samples and the extractor.
    """

    features: np.ndarray
    kept: np.ndarray
    left_out: dict[int, str]
    record: dict[str, Any]
    digest: str


def embed(
    values: Any,
    *,
    kind: str,
    model: str | None = None,
    pooling: str = "auto",
    normalize: bool | None = None,
    max_tokens: int | None = None,
    batch_size: int = 32,
    device: str | None = None,
    dtype: str = "float32",
    cache: str | Path | None = None,
    progress: bool = True,
) -> np.ndarray:
    """Features of images or texts from a frozen pretrained model of `transformers` (the extra `hf`).

    Args:
        values: `kind="text"`: N strings. `kind="image"`: N paths of files, or an array (N, height, width[, 3]) uint8.
        kind: `"image"` or `"text"`.
        cache: folder of the feature cache; None: $LAPSI_CACHE, or lapsi in the user's folder for caches.
        progress: draw a progress bar on standard error.
        model, pooling, normalize, max_tokens, batch_size, device, dtype: see `ExtractorSettings`.

    Returns:
        (N, d) float32.

    Raises:
        InputError: the model cannot be loaded, or a sample cannot be read.
    """
    Choice((IMAGE, TEXT)).check("kind", kind)
    settings = ExtractorSettings(model, pooling, normalize, max_tokens, batch_size, device, dtype)
    if isinstance(values, str | bytes):
        raise InputError(f"One {kind} was passed by itself; expected a list of them.")
    several = values if isinstance(values, np.ndarray) else list(values)
    content: Content
    if kind == TEXT:
        content = checked_texts(list(several), "The texts")
    elif len(several) > 0 and isinstance(several[0], str | Path):
        paths = [str(path) for path in several]
        content = EncodedImages(paths, lambda position: read_file(paths[position]))
    else:
        content = image_arrays(several)
    return embed_content(content, settings, None if cache is None else Path(cache), Stages(progress)).features


def load_extractor(kind: str, settings: ExtractorSettings) -> Extractor:
    """The extractor for images or texts that the settings ask for.

    Raises:
        InputError: when it cannot be loaded.
    """
    require_device(settings.device)
    model = settings.model or DEFAULT_MODELS[kind]
    return image_extractor(settings, model) if kind == IMAGE else text_extractor(settings, model)


def embed_content(
    content: Content, settings: ExtractorSettings, cache: Path | None, stages: Stages, *, skip_bad: bool = False
) -> Embedded:
    """Features of all samples, from the cache where it has them.

    Args:
        content: N images or texts.
        settings: which model, and how.
        cache: its folder; None: the default.
        stages: shows the progress.
        skip_bad: leave samples out that cannot be read.

    Raises:
        InputError: the model cannot be loaded; or a sample cannot be read and `skip_bad` is off, naming it.
    """
    if len(content) == 0:
        raise InputError(f"There is no {content.kind} to embed; expected at least 2.")
    with stages.stage("load model"):
        extractor = load_extractor(content.kind, settings)
        shards = open_cache(cache or default_cache(), extractor.identity())
    features: Tensor | None = None
    kept: list[np.ndarray] = []
    left_out: dict[int, str] = {}
    n_cached = n_done = 0
    digest = hashlib.blake2b(repr(extractor.identity()).encode(), digest_size=16)
    with stages.stage("embed", len(content)) as advance, ThreadPoolExecutor(_n_workers(), "lapsi-decode") as workers:
        for start in range(0, len(content), SHARD_ROWS):
            rows = range(start, min(start + SHARD_ROWS, len(content)))
            shard, was_cached = _shard(content, rows, extractor, shards, settings.batch_size, workers, advance, digest)
            bad = {start + position: reason for position, reason in shard.bad.items()}
            if bad and not skip_bad:
                raise InputError(_unreadable(content, bad))
            left_out |= bad
            if features is None and len(shard.kept) > 0:
                limit = MAPPED_SHARE * available_bytes()
                features = empty_features(len(content), shard.features.shape[1], limit, shards.folder)
            if features is not None and len(shard.kept) > 0:
                features[n_done : n_done + len(shard.kept)] = shard.features
            kept.append(start + shard.kept.numpy())
            n_done += len(shard.kept)
            n_cached += len(shard.kept) if was_cached else 0
    if features is None:
        raise InputError(f"None of the {len(content)} samples can be read. {_unreadable(content, left_out)}")
    record = extractor.identity() | {"n_from_cache": n_cached, "left_out": len(left_out), "cache": str(shards.folder)}
    return Embedded(features[:n_done].numpy(), np.concatenate(kept), left_out, record, digest.hexdigest())


def trial(content: Content, settings: ExtractorSettings) -> tuple[np.ndarray, float, str]:
    """Features (k, d) of a batch of samples drawn over the whole, the seconds that one takes, and the model's name.

    Raises:
        InputError: the model cannot be loaded, or none of these samples can be read.
    """
    extractor = load_extractor(content.kind, settings)
    n_tried = min(settings.batch_size, len(content))
    rows = np.linspace(0, len(content) - 1, n_tried).astype(int).tolist()

    def prepare(row: int) -> Any:
        return extractor.prepare(content.decode(content.read(row)))

    def run() -> Tensor:
        prepared = [_attempt(partial(prepare, row)) for row in rows]
        good = [value for value in prepared if not isinstance(value, _Bad)]
        if not good:
            raise InputError(_unreadable(content, {row: bad.reason for row, bad in zip(rows, prepared, strict=True)}))
        return extractor(good)

    run()  # the first pass is slower than those that follow
    start = time.perf_counter()
    features = run()
    return features.numpy(), (time.perf_counter() - start) / len(features), str(extractor.identity()["model"])


def _n_workers() -> int:
    return max(2, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class _Bad:
    """A sample that cannot be read or decoded."""

    reason: str


def _shard(
    content: Content,
    rows: Sequence[int],
    extractor: Extractor,
    cache: FeatureCache,
    batch_size: int,
    workers: ThreadPoolExecutor,
    advance: Callable[[int], None],
    digest: hashlib.blake2b,
) -> tuple[Shard, bool]:
    """The features of `rows`, and whether the cache had them; the samples are added to `digest`."""
    raw = list(workers.map(lambda row: _attempt(lambda: content.read(row)), rows))
    digest.update(digest_of([sample for sample in raw if isinstance(sample, bytes)]))
    unread = {position: value.reason for position, value in enumerate(raw) if isinstance(value, _Bad)}
    found = None if unread else cache.find(raw)
    if found is not None and all(_fails(content, raw[position], extractor) for position in found.bad):
        advance(len(rows))
        return found, True
    readable = [position for position in range(len(raw)) if position not in unread]
    readable.sort(key=lambda position: len(raw[position]))  # texts of like length in one batch need little padding
    batches = [readable[start : start + batch_size] for start in range(0, len(readable), batch_size)]
    done: dict[int, Tensor] = {}
    bad = dict(unread)
    for batch, prepared in zip(batches, _prepared(content, raw, batches, extractor, workers), strict=True):
        good = {position: value for position, value in zip(batch, prepared, strict=True) if not isinstance(value, _Bad)}
        bad |= {position: value.reason for position, value in zip(batch, prepared, strict=True) if isinstance(value, _Bad)}
        if good:
            done.update(zip(good, extractor(list(good.values())).unbind(0), strict=True))
        advance(len(batch))
    kept = sorted(done)
    features = torch.stack([done[position] for position in kept]) if kept else torch.empty(0, 0)
    if not torch.isfinite(features).all():
        raise InputError(
            f"The model gives NaN or infinite features in {extractor.identity()['dtype']}; use float32, or another model."
        )
    shard = Shard(features, torch.tensor(kept, dtype=torch.int64), dict(sorted(bad.items())))
    if not unread:  # a file that is missing today may be there tomorrow
        cache.keep(raw, shard)
    return shard, False


def _fails(content: Content, raw: bytes, extractor: Extractor) -> bool:
    """Whether a sample that could not be read before still cannot; a decoder may have been installed since."""
    return isinstance(_attempt(lambda: extractor.prepare(content.decode(raw))), _Bad)


def _prepared(
    content: Content, raw: list[Any], batches: list[list[int]], extractor: Extractor, workers: ThreadPoolExecutor
) -> Iterator[list[Any]]:
    """Inputs of the model for each batch, decoded in worker threads while the model works on those before."""

    def prepare(position: int) -> Any:
        return _attempt(lambda: extractor.prepare(content.decode(raw[position])))

    ahead: deque[list[Future[Any]]] = deque()
    for batch in batches:
        ahead.append([workers.submit(prepare, position) for position in batch])
        if len(ahead) > BATCHES_AHEAD:
            yield [future.result() for future in ahead.popleft()]
    while ahead:
        yield [future.result() for future in ahead.popleft()]


def _attempt(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever they like on damaged files
        return _Bad(first_line(error))


def _unreadable(content: Content, bad: dict[int, str]) -> str:
    return tell_unreadable([(content.name(position), reason) for position, reason in bad.items()], "samples")
