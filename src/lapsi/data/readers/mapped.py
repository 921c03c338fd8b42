"""Arrays that stay in their files: what is not touched is not read."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np

from lapsi.data.blocks import Blocks

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 2**20  # bytes
LOCAL_HEADER = struct.Struct("<26xHH")  # of a member of a zip file: the lengths of its name and of what is added to it


def load_npy(path: Path, *, mapped: bool = False) -> np.ndarray:
    """The array of a .npy file, mapped from there or in memory; one that promises more than it holds takes none.

    Raises:
        OSError, ValueError: when it cannot be read as such.
    """
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError("it holds several arrays")
    return array if mapped else np.array(array)


def mapped_member(path: Path, name: str, least: int) -> np.ndarray | None:
    """An array of an .npz file, mapped from there after its checksum was compared.

    None where it takes less than `least` bytes, is compressed, holds objects or nothing, and must be read as a whole.

    Raises:
        OSError, ValueError, BadZipFile: when it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        member = archive.NameToInfo.get(f"{name}.npy")
        if member is None or member.file_size < least or member.compress_type != zipfile.ZIP_STORED:
            return None
        with archive.open(member) as content:
            while content.read(CHUNK):
                pass
    with path.open("rb") as file:
        file.seek(member.header_offset)
        file.seek(sum(LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))), 1)
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, in_columns, dtype = header(file)
        if dtype.hasobject or 0 in shape:
            return None
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if in_columns else "C")


def rows_of(tensor: Tensor) -> Tensor | BrainFloats:
    """The rows of a tensor (N, d), where they lie."""
    import torch  # no other file of features needs it

    if tensor.dtype != torch.bfloat16 or tensor.ndim != 2:
        return tensor
    return BrainFloats(tensor.contiguous().view(torch.uint16).numpy())


@final
@dataclass(frozen=True, slots=True, eq=False)
class BrainFloats(Blocks):
    """Rows of bfloat16, which numpy does not know, as the float32 that they are the upper half of.

    Attributes:
        halves: (N, d) their bits, uint16.
    """

    halves: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(N, d)."""
        return self.halves.shape[0], self.halves.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32."""
        return np.dtype(np.float32)

    def read(self, rows: slice | np.ndarray) -> np.ndarray:
        """Some rows (n, d) float32."""
        return (self.halves[rows].astype(np.uint32) << 16).view(np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.read(slice(None)).astype(dtype or self.dtype, copy=False)
