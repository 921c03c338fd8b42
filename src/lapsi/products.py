"""Large matrix products.

On the CPU they go through NumPy: its OpenBLAS is as fast as torch's MKL on Intel processors and up to twice as fast on AMD's.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def matmul(left: Tensor, right: Tensor, out: Tensor | None = None) -> Tensor:
    """left @ right for 2-D tensors of one dtype, written to the contiguous `out` where given."""
    if left.device.type != "cpu":
        return torch.matmul(left, right, out=out)
    product = np.matmul(left.numpy(), right.numpy(), out=None if out is None else out.numpy())
    return torch.from_numpy(product) if out is None else out
