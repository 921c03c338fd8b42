"""What extractors gave, kept on disk by the content of the samples.

CACHE/features/<extractor>/extractor.json says which model and settings; beside it lies one .safetensors file for every run of
samples (a shard), named by a hash of their bytes. So an interrupted extraction goes on where it stopped, the same data are not
embedded again, and a change of the data, the model or a setting never meets old features. A sample that is taken out or put in
moves all that follow to other shards. CACHE/extractors/ holds which extractor a model and settings are, so that none is loaded
where all features are there.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lapsi.errors import LapsiError
from lapsi.execution.files import write_file

CACHE_VARIABLE = "LAPSI_CACHE"
CHECKSUM = "checksum"  # not in the shards of earlier versions


@dataclass(frozen=True, slots=True)
class Shard:
    """Features of a run of samples.

    Attributes:
        features: (k, d) float32 of the samples that could be read.
        kept: (k,) their positions in the run, int64.
        bad: position and reason of each that could not.
    """

    features: Tensor
    kept: Tensor
    bad: dict[int, str]

    def checksum(self) -> str:
        """Hash of all that the shard holds."""
        digest = hashlib.blake2b(json.dumps(self.bad).encode(), digest_size=16)
        for tensor in (self.features, self.kept):
            digest.update(repr(tensor.shape).encode())
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()


def default_cache() -> Path:
    """$LAPSI_CACHE, or lapsi in the user's folder for caches."""
    if os.environ.get(CACHE_VARIABLE):
        return Path(os.environ[CACHE_VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lapsi"


@dataclass(frozen=True, slots=True)
class FeatureCache:
    """The shards of one extractor; build it with `open_cache`."""

    folder: Path

    def find(self, samples: list[bytes]) -> Shard | None:
        """The shard of these samples, or None; a file that has changed by as little as a bit counts as none."""
        try:
            with safe_open(self._file(samples), framework="pt") as archive:
                held = archive.metadata()
                bad = json.loads(held["bad"])
                features, kept = archive.get_tensor("features"), archive.get_tensor("kept")
            shard = Shard(features, kept, {int(position): reason for position, reason in bad.items()})
        except (OSError, SafetensorError, ValueError, KeyError, TypeError, AttributeError):
            return None
        if features.dtype != torch.float32 or kept.dtype != torch.int64 or not torch.isfinite(features).all():
            return None
        places = sorted([*kept.tolist(), *shard.bad])
        whole = len(features) == len(kept) and places == list(range(len(samples)))
        return shard if whole and held.get(CHECKSUM) in (None, shard.checksum()) else None

    def keep(self, samples: list[bytes], shard: Shard) -> None:
        """Writes the shard of these samples, whole or not at all."""
        tensors = {"features": shard.features.contiguous(), "kept": shard.kept}

        def write(path: Path) -> None:
            try:
                save_file(tensors, path, {"bad": json.dumps(shard.bad), CHECKSUM: shard.checksum()})
            except SafetensorError as error:  # a full disk, for one
                raise OSError(f"{path} cannot be written: {error}") from error

        write_file(self._file(samples), write, force=True)

    def _file(self, samples: list[bytes]) -> Path:
        return self.folder / f"{digest_of(samples).hex()}.safetensors"


def digest_of(samples: list[bytes]) -> bytes:
    """Hash of samples in their order."""
    digest = hashlib.blake2b(digest_size=20)
    for sample in samples:
        digest.update(hashlib.blake2b(sample, digest_size=20).digest())
    return digest.digest()


def open_cache(root: Path, identity: dict[str, Any]) -> FeatureCache:
    """The cache of an extractor with this identity below `root`, made where there is none yet."""
    text = json.dumps(identity, indent=2, sort_keys=True) + "\n"
    folder = root / "features" / hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    record = folder / "extractor.json"
    if not record.exists():
        write_file(record, lambda path: path.write_text(text, encoding="utf-8"), force=True)
    return FeatureCache(folder)


def remember(root: Path, asked: dict[str, Any] | None, identity: dict[str, Any]) -> None:
    """Keeps which extractor something that was asked for is, so that its features are found without loading it.

    A cache that cannot be written stays as it is.
    """
    if asked is not None:
        with suppress(OSError, LapsiError):
            write_file(_known(root, asked), lambda path: path.write_text(json.dumps(identity), encoding="utf-8"), force=True)


def recall(root: Path, asked: dict[str, Any] | None) -> dict[str, Any] | None:
    """The identity that was kept for what is asked for; None where there is none, or it is damaged."""
    if asked is None:
        return None
    try:
        identity = json.loads(_known(root, asked).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(identity, dict) and all(identity.get(name) == asked[name] for name in ("kind", "model", "revision"))
    return identity if same else None


def _known(root: Path, asked: dict[str, Any]) -> Path:
    text = json.dumps(asked, sort_keys=True)
    return root / "extractors" / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.json"


def empty_features(n_samples: int, n_features: int, limit_bytes: float, folder: Path) -> Tensor:
    """Room for features (N, d) float32: in memory, or in a file of `folder` without a name where they take more than the limit.

    The system frees such a file when the process ends in any way.
    """
    if 4 * n_samples * n_features <= limit_bytes:
        return torch.empty(n_samples, n_features)
    size = 4 * n_samples * n_features
    handle, name = tempfile.mkstemp(prefix=".", suffix=".mapped.tmp", dir=folder)
    path = Path(name)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(handle, 0, size)  # a full disk shows here, not as a crash later
        os.truncate(path, size)
        return torch.from_file(str(path), shared=True, size=n_samples * n_features).view(n_samples, n_features)
    finally:
        os.close(handle)
        path.unlink()
