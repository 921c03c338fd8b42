"""What people hold of a trained network and its data: a module and a data set, a loader, or the trainer that has both."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from lapsi.data.batches import COLLATED, TARGETS
from lapsi.errors import InputError

LANGUAGE_MODELS = ("ForCausalLM", "LMHeadModel")  # how the classes of transformers are called


def handed_over(model: Any, dataset: Any, collate: COLLATED | None) -> tuple[nn.Module, Any, COLLATED | None]:
    """The module, the data set and what makes batches of its items, None for that of torch.

    Args:
        model: a module; a `Trainer` of transformers; or a Lightning module or trainer.
        dataset: map-style, a `DataLoader`, or None for that of the trainer.
        collate: goes before that of a trainer or loader.

    Raises:
        InputError: when there is no module or no data set among them.
    """
    module, own, batch = _of_trainer(model)
    dataset = own if dataset is None else dataset
    if dataset is None:
        raise InputError(f"No data set was given, and a {type(model).__name__} has none; give the training data as dataset.")
    if isinstance(dataset, DataLoader):
        dataset, batch = dataset.dataset, dataset.collate_fn
    return module, dataset, collate or batch


def predicts_next_token(module: nn.Module) -> bool:
    """Whether it is a causal language model of transformers, as it is or within adapters."""
    within = getattr(module, "get_base_model", None)
    base = within() if callable(within) else module
    return type(base).__name__.endswith(LANGUAGE_MODELS)


def _of_trainer(model: Any) -> tuple[nn.Module, Any, COLLATED | None]:
    if isinstance(model, nn.Module):
        trainer = getattr(model, "_trainer", None)  # that of Lightning, where it has trained the module
        return model, None if trainer is None else getattr(trainer, "train_dataloader", None), None
    module = getattr(model, "lightning_module", None)
    if isinstance(module, nn.Module):
        return module, getattr(model, "train_dataloader", None), None
    module = getattr(model, "model", None)
    if not isinstance(module, nn.Module):
        raise InputError(
            f"model is a {type(model).__name__}; expected a torch module, a Trainer of transformers, or a Lightning module."
        )
    batch = getattr(model, "data_collator", None)
    return module, getattr(model, "train_dataset", None), None if batch is None else _of_arguments(module, batch)


def _of_arguments(module: nn.Module, batch: COLLATED) -> COLLATED:
    """The same of what the module takes, and the target, as the Trainer of transformers drops the other columns."""
    taken = {*_names(module.forward), *TARGETS}

    def batched(items: list[Any]) -> Any:
        kept = [{name: value for name, value in item.items() if name in taken} for item in items if isinstance(item, Mapping)]
        return batch(kept if len(kept) == len(items) else items)

    return batched


def _names(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)
