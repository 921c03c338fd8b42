"""What people hold of a trained network and its data: a module and a data set, a loader, or the trainer that has both."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn
from torch.utils.data import DataLoader, RandomSampler, SubsetRandomSampler, WeightedRandomSampler, default_collate

from lapsi.data.batches import COLLATED, SEEN, TARGETS, padded_collate, read_words
from lapsi.errors import InputError

LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel")  # how the classes of transformers are called
LIGHTNING = "LightningModule"


def handed_over(model: Any, dataset: Any, collate: COLLATED | None) -> tuple[nn.Module, Any, COLLATED]:
    """The module, the data set and what makes batches of its items.

    Args:
        model: a module; a `Trainer` of transformers; or a Lightning module or trainer. Of a Lightning module that has no
            `forward` the one part that has parameters.
        dataset: map-style, a `DataLoader`, a Lightning data module, or None for that of the trainer.
        collate: goes before that of a trainer or loader. Without any, columns that the module does not take are dropped.

    Raises:
        InputError: when there is no module or no data set among them, or there are several of which one is to be chosen.
    """
    module, own, batch = _of_trainer(model)
    dataset = own if dataset is None else dataset
    if dataset is None:
        raise InputError(f"No data set was given, and a {type(model).__name__} has none; give the training data as dataset.")
    dataset = _only_loader(dataset)
    if isinstance(dataset, DataLoader):
        _require_all(dataset)
        dataset, batch = dataset.dataset, None if dataset.collate_fn is default_collate else dataset.collate_fn
    return module, dataset, collate or batch or _of_arguments(module, partial(padded_collate, word=_padding_word(module)))


def predicts_next_token(module: nn.Module) -> bool:
    """Whether it is a causal language model of transformers: as it is, within adapters, or all of a Lightning module."""
    within = getattr(module, "get_base_model", None)
    base = within() if callable(within) else module
    parts = _with_parameters(base) if _is_lightning(base) else []
    return type(base).__name__.endswith(LANGUAGE_MODELS) or (len(parts) == 1 and predicts_next_token(parts[0][1]))


def holds_module(value: Any) -> bool:
    """Whether it is a module, or a trainer of one."""
    return isinstance(value, nn.Module) or hasattr(value, "lightning_module") or isinstance(_model_of(value), nn.Module)


def _of_trainer(model: Any) -> tuple[nn.Module, Any, COLLATED | None]:
    if isinstance(model, nn.Module):
        model = _unwrapped(model)
        trainer = getattr(model, "_trainer", None)  # that of Lightning, where it has trained the module
        return _that_is_called(model), None if trainer is None else getattr(trainer, "train_dataloader", None), None
    if hasattr(model, "lightning_module"):
        if not isinstance(model.lightning_module, nn.Module):
            raise InputError(f"The {type(model).__name__} of Lightning has no module yet; hand it over after its fit.")
        return _that_is_called(model.lightning_module), getattr(model, "train_dataloader", None), None
    module = _model_of(model)
    if not isinstance(module, nn.Module):
        raise InputError(
            f"model is a {type(model).__name__}; expected a torch module, a Trainer of transformers, or a Lightning module."
        )
    _require_plain_loss(model)
    module = _unwrapped(module)
    batch = getattr(model, "data_collator", None)
    return module, getattr(model, "train_dataset", None), None if batch is None else _of_arguments(module, batch, strict=True)


def _unwrapped(module: nn.Module) -> nn.Module:
    """What `torch.compile`, `DataParallel` or `DistributedDataParallel` was made of."""
    within = getattr(module, "_orig_mod", None)
    if within is None and isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        within = module.module
    return _unwrapped(within) if isinstance(within, nn.Module) else module


def _require_plain_loss(trainer: Any) -> None:
    """Refuses a Trainer that minimised something else than the loss of its model."""
    smoothing = getattr(getattr(trainer, "args", None), "label_smoothing_factor", 0.0)
    own = next((each for each in type(trainer).__mro__ if "compute_loss" in vars(each)), None)
    is_own = own is not None and not own.__module__.startswith("transformers.")
    what = (
        f"smooths its labels ({smoothing:g})" if smoothing else "has a loss of its own (compute_loss)" if is_own
        else "has a loss of its own (compute_loss_func)" if getattr(trainer, "compute_loss_func", None) is not None else ""
    )  # fmt: skip
    if what:
        raise InputError(
            f"The {type(trainer).__name__} {what}, which is not covered. To score its model by the plain loss nevertheless, "
            "hand over model, train_dataset and data_collator (collate=) one by one; see sample_weight."
        )


def _model_of(trainer: Any) -> Any:
    return getattr(trainer, "model", None)


def _is_lightning(module: nn.Module) -> bool:
    return any(each.__name__ == LIGHTNING for each in type(module).__mro__)


def _with_parameters(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The parts that it is made of, by their names; metrics and losses have no parameters."""
    return [(name, part) for name, part in module.named_children() if next(part.parameters(), None) is not None]


def _that_is_called(module: nn.Module) -> nn.Module:
    """The module, or the one part of a Lightning module that has no `forward`: its steps call that.

    Raises:
        InputError: when it has several parts, or parameters of its own.
    """
    owner = next(each for each in type(module).__mro__ if "forward" in vars(each))
    if owner.__name__ != LIGHTNING:
        return module
    parts = _with_parameters(module)
    if len(parts) != 1 or next(module.parameters(recurse=False), None) is not None:
        called = ", ".join(name for name, _ in parts) or "none"
        raise InputError(
            f"The {type(module).__name__} has no forward (parts with parameters: {called}); give it one that returns the "
            "outputs for an input, or hand over the part that does, with the data set."
        )
    return parts[0][1]


def _only_loader(data: Any) -> Any:
    """The loader of a data module, or the only one of several that a trainer of Lightning combines; all else as it is.

    Raises:
        InputError: when there are several.
    """
    makes = getattr(data, "train_dataloader", None)
    data = makes() if callable(makes) else data
    loaders = _loaders(getattr(data, "iterables", data))
    if len(loaders) > 1:
        raise InputError(f"The training data are those of {len(loaders)} loaders; give the one to score as dataset.")
    return loaders[0] if loaders else data


def _require_all(loader: DataLoader[Any]) -> None:
    """Refuses a loader that leaves samples out, or takes some more often than others."""
    sampler = loader.sampler
    repeats = isinstance(sampler, RandomSampler) and sampler.replacement
    if repeats or isinstance(sampler, SubsetRandomSampler | WeightedRandomSampler):
        raise InputError(
            f"The DataLoader draws by a {type(sampler).__name__}, so its data set holds others than the samples of the "
            "training. Hand over these (torch.utils.data.Subset), and how often each counts as sample_weight."
        )


def _loaders(data: Any) -> list[DataLoader[Any]]:
    """Those in nested lists and mappings; none where the first of these holds anything else."""
    if isinstance(data, DataLoader):
        return [data]
    parts = list(data.values()) if isinstance(data, Mapping) else data if isinstance(data, list | tuple) else []
    return [loader for part in parts for loader in _loaders(part)] if len(parts) > 0 and _loaders(parts[0]) else []


@dataclass(frozen=True, slots=True)
class _OfArguments:
    """Makes batches of what a module takes, and of the target; other columns, such as texts and ids, are dropped. Where the
    module takes nothing of a sample, all of it is kept.

    Attributes:
        taken: names of its arguments.
        others: whether other columns may be arguments, too; then texts alone are dropped.
        batch: makes the batches.
    """

    taken: frozenset[str]
    others: bool
    batch: COLLATED

    def __call__(self, items: list[Any]) -> Any:
        if not all(isinstance(item, Mapping) and self.taken & item.keys() for item in items):
            return self.batch(items)
        batch = self.batch([{name: item[name] for name in item if self._is_kept(name, item[name])} for item in items])
        if not isinstance(batch, Mapping) or SEEN not in batch or self.others or SEEN in self.taken:
            return batch
        without = {name: value for name, value in batch.items() if name != SEEN}  # it was made here
        return without if any(name in batch for name in TARGETS) else {**without, TARGETS[0]: read_words(batch)}

    def _is_kept(self, name: str, value: Any) -> bool:
        return name in self.taken or name in TARGETS or (self.others and not isinstance(value, str))


def _padding_word(module: nn.Module) -> int:
    """What a model of transformers knows the end of a text by."""
    word = getattr(getattr(module, "config", None), "pad_token_id", None)
    return word if isinstance(word, int) else 0


def _of_arguments(module: nn.Module, batch: COLLATED, *, strict: bool = False) -> COLLATED:
    """`strict`: only what `forward` names, whatever else it takes, as the Trainer of transformers does."""
    try:
        known = inspect.signature(module.forward).parameters.values()
    except ValueError:  # it is not of Python
        return batch
    others = not strict and any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known)
    return _OfArguments(frozenset(each.name for each in known), others, batch)
