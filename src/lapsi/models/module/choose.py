"""Which parameters of a module are in the posterior, and the layers that hold them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

from lapsi.errors import InputError
from lapsi.models.module.layers import Layer, covered
from lapsi.settings.network import ALL, LAST_LAYER

MOST_NAMES = 12  # that an error lists


def layers_of(module: nn.Module, params: Sequence[str] = (ALL,)) -> tuple[Layer, ...]:
    """The layers of the chosen parameters, those that `requires_grad`, in the order of the module.

    Args:
        module: any; its layers must be of the kinds that `lapsi.models.module.layers` has.
        params: as in `NetworkSpec`.

    Raises:
        InputError: when a layer is of another kind, or its parameters are used by another one too, or a name is none.
    """
    _require_readable(module)
    layers = _last(module) if tuple(params) == (LAST_LAYER,) else _chosen(module, None if tuple(params) == (ALL,) else params)
    if not layers:
        raise InputError("No parameter of the module is chosen that requires a gradient; see params, and requires_grad.")
    return layers


def _chosen(module: nn.Module, wanted: Sequence[str] | None) -> tuple[Layer, ...]:
    known = dict(module.named_modules())
    for name in wanted or ():
        if name not in known:
            some = ", ".join(repr(each) for each in known if each)[:200]
            raise InputError(f"params names the module {name!r}, which there is not; the module has {some}.")
    users = _users(module)
    layers = []
    for name, part in known.items():
        if wanted is not None and not any(name == each or name.startswith(f"{each}.") for each in wanted):
            continue
        if _own(part):
            layer, why = _layer(name, part, users)
            if layer is None:
                raise InputError(f"{why} {_advice(module, users)}")
            layers.append(layer)
    return tuple(layers)


def _own(part: nn.Module) -> list[str]:
    """The parameters that it holds itself and that require a gradient."""
    return [key for key, value in part.named_parameters(recurse=False) if value.requires_grad]


def _layer(name: str, part: nn.Module, users: dict[int, list[str]]) -> tuple[Layer | None, str]:
    """The layer of a module with parameters, or why it is none."""
    own = _own(part)
    for key in own:
        others = [other for other in users[id(part.get_parameter(key))] if other != name]
        if others:
            return None, (
                f"The parameter {key!r} of {name!r} is tied to that of {', '.join(map(repr, others))}: what a sample says of "
                "it comes from several places, which is not covered."
            )
    return covered(name, part, own), (
        f"The module {name!r} is a {type(part).__name__} with parameters {', '.join(own)}, which is not covered; covered are "
        "the weights, with biases, of Linear, Conv1d, Conv2d, Embedding, LayerNorm, RMSNorm, GroupNorm and BatchNorm in "
        "evaluation mode."
    )


def _advice(module: nn.Module, users: dict[int, list[str]]) -> str:
    """What to choose instead: all that is covered, in as few names as there are."""
    names = _covered_in("", module, users)
    what = "Leave it out (params=, or requires_grad_(False)): it then counts as fixed."
    return f"{what} All that is covered: params={names!r}." if 0 < len(names) <= MOST_NAMES else what


def _covered_in(name: str, part: nn.Module, users: dict[int, list[str]]) -> list[str]:
    """Names of the largest parts of a module, or its own, whose parameters are all covered."""
    if isinstance(part, nn.MultiheadAttention):  # it hands its weights to a function
        return []
    holders = [(key, each) for key, each in part.named_modules(prefix=name) if _own(each)]
    if name and holders and all(_layer(key, each, users)[0] is not None for key, each in holders):
        return [name]
    children = [(f"{name}.{key}" if name else key, each) for key, each in part.named_children()]
    return [found for key, each in children for found in _covered_in(key, each, users)]


def _require_readable(module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise InputError(f"The module is a {type(module).__name__}, whose layers cannot be watched; hand over that of Python.")
    lazy = [name for name, value in module.named_parameters() if isinstance(value, UninitializedParameter)]
    if lazy:
        raise InputError(f"The parameter {lazy[0]!r} has no values yet; call the module once on some samples, and train it.")


def _users(module: nn.Module) -> dict[int, list[str]]:
    """The modules that hold each parameter, by its identity."""
    users: dict[int, list[str]] = {}
    for name, part in module.named_modules(remove_duplicate=False):
        for value in part.parameters(recurse=False):
            users.setdefault(id(value), []).append(name)
    return users


def _last(module: nn.Module) -> tuple[Layer, ...]:
    """The last module with parameters, in the order in which they were made."""
    holders = [name for name, part in module.named_modules() if any(True for _ in part.parameters(recurse=False))]
    return _chosen(module, holders[-1:]) if holders else ()
