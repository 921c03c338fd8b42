"""Loading models of `transformers`, and saying in one line why it did not work."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lapsi.data.samples import TEXT
from lapsi.errors import InputError, first_line

HUB_TIMEOUT = 10.0
HEADS = ("pooler", "classifier", "cls.", "head", "qa_outputs", "score")
WITHOUT_MODEL = "texts in a table also go without a model, as the tf-idf of their pieces"
INSTEAD = {
    "--model": "--features COLUMN",
    "extractor=": "lapsi.score(frame[[column]], labels)",
    "model=": "lapsi.score(frame[[column]], labels)",
}
MODEL_FILES = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model")


class NoModelError(InputError):
    """A model is neither a folder, nor in the local cache, nor to be had from the hub; who was asked for it says what to do."""


def require_transformers() -> Any:
    """The module `transformers`, told on its first import that there is no torchvision.

    Lapsi never needs torchvision, and many installed copies do not match the torch beside them and fail on import.

    Raises:
        InputError: when the extra is not installed.
    """
    if "transformers" not in sys.modules and "torchvision" not in sys.modules:
        sys.modules["torchvision"] = None  # type: ignore[assignment]
        try:
            from transformers.utils import import_utils

            import_utils.is_torchvision_available()  # remembers its answer
        except ImportError:
            pass
        finally:
            del sys.modules["torchvision"]
    try:
        import transformers
    except ImportError as error:
        raise InputError(f"Images and texts need the extra 'hf' ({error}): pip install 'lapsi[hf]'.") from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def load_pretrained(load: Callable[..., Any], model: str, **options: Any) -> Any:
    """`load(model)` from a local folder, the local cache of the hub, or the hub.

    Raises:
        NoModelError: when it is nowhere.
        InputError: one line that says which of these failed.
    """
    if Path(model).is_dir():
        return _load(
            load,
            model,
            options | {"local_files_only": True},
            f"The folder {model} holds no model for this kind of samples that can be loaded",
        )
    cached = _cached_folder(model)  # by its name, some loaders ask the hub all the same, again and again
    try:
        return load(model if cached is None else str(cached), local_files_only=True, **options)
    except (OSError, ValueError):
        _files_on_hub(model)
    return _load(load, model, options, f"The model {model!r} cannot be loaded from the hub")


def _load(load: Callable[..., Any], model: str, options: dict[str, Any], problem: str) -> Any:
    try:
        return load(model, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise InputError(f"{problem} ({first_line(error)}).") from error


def _files_on_hub(model: str) -> set[str]:
    """Names of the files of a model, asked for once, without the minute of retries of the hub's own library.

    Raises:
        NoModelError: when there is no such model, or the hub cannot be reached.
        InputError: one line that says why there is no answer.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        return {file.rfilename for file in HfApi().model_info(model, timeout=HUB_TIMEOUT).siblings or []}
    except HFValidationError:
        raise InputError(f"{model!r} is neither a folder nor a name of a model such as 'microsoft/resnet-18'.") from None
    except GatedRepoError:
        raise InputError(
            f"The model {model!r} asks for its terms to be accepted on the hub first, then 'hf auth login'."
        ) from None
    except RepositoryNotFoundError:
        raise NoModelError(f"There is no model {model!r} on the hub, and no folder of that name.") from None
    except Exception as error:  # the HTTP client's own errors, which differ between its versions
        raise NoModelError(
            f"The model {model!r} is not in the local cache, and the hub cannot be reached ({first_line(error)})."
        ) from error


def advice_of(kind: str, named: str) -> str:
    """What to do without a model for texts or images, which the option or argument `named` names."""
    advice = f"Name a local folder, or a model that is in the local cache, with {named}"
    way = INSTEAD.get(named)
    return f"{advice}; {WITHOUT_MODEL}: {way}." if kind == TEXT and way is not None else f"{advice}."


def revision_of(model: str) -> str:
    """Commit of a model that was loaded from the hub, or hash of the files of a local folder."""
    revision = local_revision(model)
    assert revision is not None, model
    return revision


def local_revision(model: str) -> str | None:
    """The revision of a model that is a folder or in the local cache of the hub; None for any other."""
    folder = Path(model)
    if not folder.is_dir():
        cached = _cached_folder(model)
        return None if cached is None else cached.name
    digest = hashlib.blake2b(digest_size=16)
    for file in sorted({file for pattern in MODEL_FILES for file in folder.rglob(pattern)}):
        digest.update(str(file.relative_to(folder)).encode())
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).digest())
    return digest.hexdigest()


def _cached_folder(model: str) -> Path | None:
    """…/snapshots/COMMIT of a model in the local cache of the hub."""
    try:
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(model, "config.json")
    except (ImportError, ValueError):  # not installed, or no name of a model
        return None
    return Path(cached).parent if isinstance(cached, str) else None


def load_frozen(architecture: Any, model: str, dtype: str, device: str | None) -> tuple[Any, bool]:
    """A model in evaluation mode, and whether its checkpoint holds a pooler.

    Raises:
        InputError: when weights other than those of heads are missing: its features would be random.
    """
    network, report = load_pretrained(
        architecture.from_pretrained, model, dtype=getattr(torch, dtype), output_loading_info=True
    )
    missing = sorted(report["missing_keys"])
    random = [name for name in missing if not any(head in name for head in HEADS)]
    if random:
        raise InputError(
            f"The checkpoint of {model!r} lacks {len(random)} weights of a {type(network).__name__}, the first {random[0]!r}: "
            "its features would be random. Name another model."
        )
    network.eval().requires_grad_(False)
    return network.to(device or "cpu"), not any("pooler" in name for name in missing)


def read_json(model: str, name: str) -> Any:
    """A JSON file of a model, or None where it has none.

    Raises:
        InputError: when the file is damaged, or nobody can be asked whether the model has it.
    """
    path = Path(model) / name if Path(model).is_dir() else _cached_file(model, name)
    if path is None or not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{name} of the model {model} is no JSON ({error}).") from error


def _cached_file(model: str, name: str) -> Path | None:
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    cached = try_to_load_from_cache(model, name)
    if cached is not None:  # a path, or a mark that the model has no such file
        return Path(cached) if isinstance(cached, str) else None
    try:
        files = _files_on_hub(model)
    except InputError as error:
        raise InputError(
            f"Whether {model!r} says itself how to pool cannot be found out: its {name} is not in the local cache, and the hub "
            "cannot be reached. Say it with --pooling, --normalize or --no-normalize, and --max-tokens."
        ) from error
    return Path(hf_hub_download(model, name)) if name in files else None
