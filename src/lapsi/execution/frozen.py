"""An object as Ray stores it: its tensors are arrays beside it, of which all readers on a machine share one copy."""

from __future__ import annotations

import io
import pickle
import socket
import warnings
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from ray.cloudpickle import CloudPickler
from torch import Tensor

from lapsi.errors import BackendError

SAME_EVERYWHERE = ("lapsi", "torch")
ALIGNMENT = 64  # bytes, of torch's own arrays


@dataclass(frozen=True, slots=True, eq=False)
class Frozen:
    """An object without its arrays, and these: all that Ray stores of it.

    Attributes:
        data: the object.
        buffers: its arrays, which readers on one machine share.
        versions: of the packages that must be the same where it is read.
    """

    data: bytes
    buffers: list[np.ndarray]
    versions: dict[str, str]


def frozen(value: Any) -> Frozen:
    """An object to be put into Ray's store."""
    buffers: list[Any] = []
    file = io.BytesIO()
    _Pickler(file, protocol=5, buffer_callback=buffers.append).dump(value)
    arrays = [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]
    return Frozen(file.getvalue(), arrays, {name: version(name) for name in SAME_EVERYWHERE})


def thawed(stored: Frozen) -> Any:
    """The object again; its tensors on the CPU cannot be written to.

    Raises:
        BackendError: when this machine has other versions of what decides the numbers.
    """
    for name, wanted in stored.versions.items():
        if version(name) != wanted:
            raise BackendError(
                f"The machine {socket.gethostname()} has {name} {version(name)}, the run {wanted}; install the same versions "
                "on all machines."
            )
    return pickle.loads(stored.data, buffers=stored.buffers)


class _Pickler(CloudPickler):
    """Takes tensors apart into an array and what is needed beside it."""

    def reducer_override(self, value: Any) -> Any:
        if type(value) is not Tensor:
            return super().reducer_override(value)
        plain = value.detach().cpu()
        is_brain = plain.dtype == torch.bfloat16  # which numpy does not know
        array = (plain.view(torch.int16) if is_brain else plain).numpy()
        return _tensor, (array, value.device.type, is_brain)


def _tensor(array: np.ndarray, device: str, is_brain: bool) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        plain = torch.from_numpy(array)
    if plain.data_ptr() % ALIGNMENT != 0:  # Ray's store aligns arrays of more than 2 KiB alone; sums go by it in the last digit
        plain = plain.clone()
    return (plain.view(torch.bfloat16) if is_brain else plain).to(device)
