"""From raw samples to features: read, decoded and prepared in worker threads, embedded in batches, kept in the cache."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from lapsi.data.extractors.base import DEFAULT_MODELS, Extractor
from lapsi.data.extractors.cache import Shard, default_cache, digest_of, empty_features, open_cache, recall, remember
from lapsi.data.extractors.images import image_extractor
from lapsi.data.extractors.loading import NoModelError, advice_of, local_revision
from lapsi.data.extractors.texts import text_extractor
from lapsi.data.items import content_of_values
from lapsi.data.samples import IMAGE, SKIP_OPTION, TEXT, Content, tell_unreadable
from lapsi.errors import InputError, first_line
from lapsi.execution.backend import HERE, Backend, Task, open_backend
from lapsi.execution.device import require_device
from lapsi.execution.memory import available_bytes
from lapsi.execution.progress import Advance, Stages
from lapsi.settings.execution import Execution
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.option import Choice

SHARD_ROWS = 512  # what a kill may lose
BATCHES_AHEAD = 2
MODEL_OPTION = "--model"
MAPPED_SHARE = 0.25  # of the memory that is free: larger features stay on disk


@dataclass(frozen=True, slots=True)
class Door:
    """What errors call the options or arguments of whoever asks for features.

    Attributes:
        model: names the extractor.
        skip: leaves samples out that cannot be read; "" where nothing does.
    """

    model: str = MODEL_OPTION
    skip: str = SKIP_OPTION


COMMAND = Door()


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
    execution: Execution | None = None,
) -> np.ndarray:
    """Features of images or texts from a frozen pretrained model of `transformers` (the extra `hf`).

    Args:
        values: `kind="text"`: N strings. `kind="image"`: N paths of files, images of Pillow, or an array (N, height,
            width[, 3]) uint8.
        kind: `"image"` or `"text"`.
        cache: folder of the feature cache; None: $LAPSI_CACHE, or lapsi in the user's folder for caches.
        progress: draw a progress bar on standard error.
        execution: whether this process or the workers of a Ray cluster embed, by its `backend`, `address` and `worker_cpus`.
        model, pooling, normalize, max_tokens, batch_size, device, dtype: see `ExtractorSettings`.

    Returns:
        (N, d) float32.

    Raises:
        InputError: the model cannot be loaded, or a sample cannot be read.
    """
    Choice((IMAGE, TEXT)).check("kind", kind)
    settings = ExtractorSettings(model, pooling, normalize, max_tokens, batch_size, device, dtype)
    content = content_of_values(values, kind)
    with open_backend(execution or Execution()) as backend:
        folder = None if cache is None else Path(cache)
        stages = Stages(progress)
        return embed_content(content, settings, folder, stages, backend=backend, door=Door("model=", "")).features


def load_extractor(kind: str, settings: ExtractorSettings, named: str = MODEL_OPTION) -> Extractor:
    """The extractor for images or texts that the settings ask for; `named`: the option or argument that says which, for errors.

    Raises:
        InputError: when it cannot be loaded.
    """
    require_device(settings.device)
    model = settings.model or DEFAULT_MODELS[kind]
    try:
        return image_extractor(settings, model) if kind == IMAGE else text_extractor(settings, model)
    except NoModelError as error:
        raise InputError(f"{error} {advice_of(kind, named)}") from error


def embed_content(
    content: Content,
    settings: ExtractorSettings,
    cache: Path | None,
    stages: Stages,
    *,
    skip_bad: bool = False,
    backend: Backend = HERE,
    door: Door = COMMAND,
) -> Embedded:
    """Features of all samples, from the cache where it has them.

    Args:
        content: N images or texts.
        settings: which model, and how.
        cache: its folder; None: the default.
        stages: shows the progress.
        skip_bad: leave samples out that cannot be read.
        backend: embeds what the cache does not have.
        door: what errors call the options or arguments of the caller.

    Raises:
        InputError: the model cannot be loaded; or a sample cannot be read and `skip_bad` is off, naming it.
    """
    if len(content) == 0:
        raise InputError(f"There is no {content.kind} to embed; expected at least 2.")
    if not skip_bad:
        require_present(content, door)
    late = _LateExtractor(content.kind, settings, cache or default_cache(), door.model)
    with stages.stage("load model"):
        identity = late.identity()
    shards = open_cache(late.cache, identity)
    gathered = _Gathered(content, shards.folder, skip_bad, door.skip)
    digest = hashlib.blake2b(repr(identity).encode(), digest_size=16)

    def missing() -> Iterator[RawShard]:
        for start in range(0, len(content), SHARD_ROWS):
            rows = range(start, min(start + SHARD_ROWS, len(content)))
            raw = RawShard(start, list(readers.map(lambda row: _attempt(lambda: content.read(row)), rows)))
            digest.update(digest_of([sample for sample in raw.samples if isinstance(sample, bytes)]))
            found = shards.find(raw.samples) if raw.is_whole else None
            if found is not None and all(_fails(content, raw.samples[position], late.loaded()) for position in found.bad):
                advance(len(rows))
                gathered.take(start, found, was_cached=True)
            else:
                yield raw

    with stages.stage("embed", len(content)) as advance, ThreadPoolExecutor(_n_readers(), "lapsi-read") as readers:
        parts = missing()
        for first in parts:  # the model is loaded where the cache lacks something
            extraction = Extraction(late.loaded(), content.decode, settings.batch_size)
            for raw, shard in backend.map(extraction, chain([first], parts), advance):
                if raw.is_whole:  # a file that is missing today may be there tomorrow
                    shards.keep(raw.samples, shard)
                gathered.take(raw.start, shard, was_cached=False)
    features, kept, left_out = gathered.everything()
    record = identity | {"n_from_cache": gathered.n_cached, "left_out": len(left_out), "cache": str(shards.folder)}
    return Embedded(features, kept, left_out, record, digest.hexdigest())


@final
class _LateExtractor:
    """An extractor that is loaded where it is first needed; whose features those of the cache are, is remembered there."""

    def __init__(self, kind: str, settings: ExtractorSettings, cache: Path, named: str) -> None:
        self._kind, self._settings, self.cache, self._named = kind, settings, cache, named
        self._extractor: Extractor | None = None
        self._asked = self._told()  # the files of a model are read for it, so once

    def identity(self) -> dict[str, Any]:
        """As `Extractor.identity`."""
        require_device(self._settings.device)
        known = None if self._extractor is not None else recall(self.cache, self._asked)
        return self.loaded().identity() if known is None else known

    def loaded(self) -> Extractor:
        """The extractor.

        Raises:
            InputError: when it cannot be loaded, or is not the one that was remembered.
        """
        if self._extractor is None:
            self._extractor = load_extractor(self._kind, self._settings, self._named)
            known, identity = recall(self.cache, self._asked), self._extractor.identity()
            if known != identity:
                asked = self._told() if self._asked is None else self._asked  # a model that was not at hand is now
                remember(self.cache, asked, identity)
            if known not in (None, identity):
                raise InputError(f"What is known of the model {identity['model']} has changed meanwhile; run it again.")
        return self._extractor

    def _told(self) -> dict[str, Any] | None:
        """All that the identity follows from, without loading anything; None where no model is at hand."""
        model, settings = self._settings.model or DEFAULT_MODELS[self._kind], self._settings
        revision = local_revision(model)
        choices = {name: getattr(settings, name) for name in ("pooling", "normalize", "max_tokens", "dtype")}
        made_by = {name: version(name) for name in ("lapsi", "transformers") if find_spec(name) is not None}
        return None if revision is None else {"kind": self._kind, "model": model, "revision": revision} | choices | made_by


@dataclass(frozen=True, slots=True, eq=False)
class RawShard:
    """A run of samples that is embedded in one go.

    Attributes:
        start: position of the first.
        samples: the bytes of each, or why it cannot be read.
    """

    start: int
    samples: list[Any]

    @property
    def is_whole(self) -> bool:
        """Whether all could be read."""
        return all(isinstance(sample, bytes) for sample in self.samples)


@final
@dataclass(frozen=True, slots=True, eq=False)
class Extraction(Task[RawShard, Shard]):
    """Embedding runs of samples.

    Attributes:
        extractor: the frozen model.
        decode: makes a sample of its bytes.
        batch_size: samples a forward pass.
    """

    extractor: Extractor
    decode: Callable[[bytes], Any]
    batch_size: int

    def start(self) -> Callable[[RawShard, Advance], Shard]:
        return self.embedded

    def embedded(self, raw: RawShard, advance: Advance) -> Shard:
        """The features of a run of samples.

        Raises:
            InputError: when the model gives none that are finite.
        """
        bad = {position: value.reason for position, value in enumerate(raw.samples) if isinstance(value, _Bad)}
        readable = [position for position in range(len(raw.samples)) if position not in bad]
        advance(len(bad))
        readable.sort(key=lambda position: len(raw.samples[position]))  # texts of like length in a batch need little padding
        batches = [readable[start : start + self.batch_size] for start in range(0, len(readable), self.batch_size)]
        done: dict[int, Tensor] = {}
        with ThreadPoolExecutor(max(2, torch.get_num_threads()), "lapsi-decode") as workers:
            for batch, prepared in zip(batches, self._prepared(raw.samples, batches, workers), strict=True):
                pairs = list(zip(batch, prepared, strict=True))
                good = {position: value for position, value in pairs if not isinstance(value, _Bad)}
                bad |= {position: value.reason for position, value in pairs if isinstance(value, _Bad)}
                if good:
                    done.update(zip(good, self.extractor(list(good.values())).unbind(0), strict=True))
                advance(len(batch))
        kept = sorted(done)
        features = torch.stack([done[position] for position in kept]) if kept else torch.empty(0, 0)
        if not torch.isfinite(features).all():
            dtype = self.extractor.identity()["dtype"]
            raise InputError(f"The model gives NaN or infinite features in {dtype}; use float32, or another model.")
        return Shard(features, torch.tensor(kept, dtype=torch.int64), dict(sorted(bad.items())))

    def _prepared(self, samples: list[Any], batches: list[list[int]], workers: ThreadPoolExecutor) -> Iterator[list[Any]]:
        """Inputs of the model for each batch, decoded in worker threads while the model works on those before."""

        def prepare(position: int) -> Any:
            return _attempt(lambda: self.extractor.prepare(self.decode(samples[position])))

        ahead: deque[list[Future[Any]]] = deque()
        for batch in batches:
            ahead.append([workers.submit(prepare, position) for position in batch])
            if len(ahead) > BATCHES_AHEAD:
                yield [future.result() for future in ahead.popleft()]
        while ahead:
            yield [future.result() for future in ahead.popleft()]


class _Gathered:
    """Shards put together in the order of their samples, whichever comes first."""

    def __init__(self, content: Content, folder: Path, skip_bad: bool, skip: str) -> None:
        self._content, self._folder, self._skip_bad, self._skip = content, folder, skip_bad, skip
        self._features: Tensor | None = None
        self._early: dict[int, Shard] = {}
        self._kept: list[np.ndarray] = []
        self._left_out: dict[int, str] = {}
        self._next = self._n_done = self.n_cached = 0

    def take(self, start: int, shard: Shard, was_cached: bool) -> None:
        """The features of the samples from `start` on."""
        bad = {start + position: reason for position, reason in shard.bad.items()}
        if bad and not self._skip_bad:
            is_all = len(shard.kept) + len(shard.bad) == len(self._content)
            raise InputError(_unreadable(self._content, bad, self._skip, is_all=is_all))
        self.n_cached += len(shard.kept) if was_cached else 0
        self._early[start] = shard
        while self._next in self._early:
            self._append(self._early.pop(self._next))

    def _append(self, shard: Shard) -> None:
        start, n_kept = self._next, len(shard.kept)
        self._left_out |= {start + position: reason for position, reason in shard.bad.items()}
        self._kept.append(start + shard.kept.numpy())
        self._next += n_kept + len(shard.bad)
        if n_kept == 0:
            return
        if self._features is None:
            limit = MAPPED_SHARE * available_bytes()
            self._features = empty_features(len(self._content), shard.features.shape[1], limit, self._folder)
        self._features[self._n_done : self._n_done + n_kept] = shard.features
        self._n_done += n_kept

    def everything(self) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
        """Features (n, d), the positions (n,) that they are of, and why each of the others was left out.

        Raises:
            InputError: when no sample could be read.
        """
        if self._features is None:
            n_samples, left_out = len(self._content), _unreadable(self._content, self._left_out, "")
            raise InputError(f"None of the {n_samples:,} samples can be read. {left_out}")
        return self._features[: self._n_done].numpy(), np.concatenate(self._kept), self._left_out


def require_present(content: Content, door: Door = COMMAND) -> None:
    """Refuses samples that need no reading to be known unreadable; cheap.

    Raises:
        InputError: naming the first of them.
    """
    absent = _missing(content)
    if absent:
        raise InputError(_unreadable(content, absent, door.skip))


def trial(content: Content, settings: ExtractorSettings, named: str = MODEL_OPTION) -> tuple[np.ndarray, float, str]:
    """Features (k, d) of a batch of samples drawn over the whole, the seconds that one takes, and the model's name.

    `named`: the option or argument that names the model, for errors.

    Raises:
        InputError: the model cannot be loaded, or none of these samples can be read.
    """
    extractor = load_extractor(content.kind, settings, named)
    n_tried = min(settings.batch_size, len(content))
    rows = np.linspace(0, len(content) - 1, n_tried).astype(int).tolist()

    def prepare(row: int) -> Any:
        return extractor.prepare(content.decode(content.read(row)))

    def run() -> Tensor:
        prepared = [_attempt(partial(prepare, row)) for row in rows]
        good = [value for value in prepared if not isinstance(value, _Bad)]
        if not good:
            reasons = {row: bad.reason for row, bad in zip(rows, prepared, strict=True)}
            raise InputError(_unreadable(content, reasons, "", is_all=n_tried == len(content)))
        return extractor(good)

    run()  # the first pass is slower than those that follow
    start = time.perf_counter()
    features = run()
    return features.numpy(), (time.perf_counter() - start) / len(features), str(extractor.identity()["model"])


def _n_readers() -> int:
    return max(2, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class _Bad:
    """A sample that cannot be read or decoded."""

    reason: str


def _fails(content: Content, raw: bytes, extractor: Extractor) -> bool:
    """Whether a sample that could not be read before still cannot; a decoder may have been installed since."""
    return isinstance(_attempt(lambda: extractor.prepare(content.decode(raw))), _Bad)


def _attempt(work: Callable[[], Any]) -> Any:
    try:
        return work()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever they like on damaged files
        return _Bad(first_line(error))


def _missing(content: Content) -> dict[int, str]:
    """Position and reason of each sample that needs no reading to be known unreadable."""

    def look(start: int) -> dict[int, str]:
        rows = range(start, min(start + SHARD_ROWS, len(content)))
        found = {row: _attempt(partial(content.require, row)) for row in rows}
        return {row: bad.reason for row, bad in found.items() if isinstance(bad, _Bad)}

    with ThreadPoolExecutor(_n_readers(), "lapsi-look") as readers:
        parts = readers.map(look, range(0, len(content), SHARD_ROWS))
        return {row: reason for part in parts for row, reason in part.items()}


def _unreadable(content: Content, bad: dict[int, str], skip: str, *, is_all: bool = True) -> str:
    named = [(content.name(position), reason) for position, reason in bad.items()]
    return tell_unreadable(named, f"{len(content):,} samples", skip=skip, is_all=is_all)
