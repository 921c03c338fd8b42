"""Which parameters of a module are in the posterior, and the layers that hold them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lapsi.errors import InputError
from lapsi.models.module.layers import Layer, covered
from lapsi.settings.network import ALL, LAST_LAYER


def layers_of(module: nn.Module, params: Sequence[str] = (ALL,)) -> tuple[Layer, ...]:
    """The layers of the chosen parameters, those that `requires_grad`, in the order of the module.

    Args:
        module: any; its layers must be of the kinds that `lapsi.models.module.layers` has.
        params: as in `NetworkSpec`.

    Raises:
        InputError: when a layer is of another kind, or its parameters are used by another one too, or a name is none.
    """
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
        own = [key for key, value in part.named_parameters(recurse=False) if value.requires_grad]
        if own:
            layers.append(_layer(name, part, own, users))
    return tuple(layers)


def _layer(name: str, part: nn.Module, own: list[str], users: dict[int, list[str]]) -> Layer:
    for key in own:
        shared = users[id(part.get_parameter(key))]
        if len(shared) > 1:
            raise InputError(
                f"The parameter {key!r} of {name!r} is tied to that of {', '.join(map(repr, shared[1:]))}: what a sample says "
                "of it comes from several places, which is not covered. Untie them, or leave the module out (params=)."
            )
    layer = covered(name, part, own)
    if layer is None:
        raise InputError(
            f"The module {name!r} is a {type(part).__name__} with parameters {', '.join(own)}, which is not covered; covered "
            "are Linear, Conv1d, Conv2d, Embedding, LayerNorm, RMSNorm, GroupNorm and BatchNorm in evaluation mode. Leave it "
            "out (params=, or requires_grad_(False)): it then counts as fixed."
        )
    return layer


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
