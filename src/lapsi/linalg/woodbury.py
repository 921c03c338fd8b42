"""Solving with the Hessian of all samples but one (the Woodbury identity on the removed sample).

Legend of the indices: n sample, a b m direction, k l feature. J_n = I ⊗ x_n (P', F) for F directions, H (P', P') the Hessian
of all.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lapsi.linalg.matmul import matmul


def influence_columns(inverse: Tensor, inputs: Tensor, workspace: Tensor | None = None) -> Tensor:
    """Y = H⁻¹J as (b, n, m, k): column b of sample n, entry (m, k); in the dtype of `inverse`.

    `workspace` (F, ≥ n, P') is overwritten and becomes the result; memory used before costs no page faults.
    """
    n, d = inputs.shape
    inputs = inputs.to(inverse.dtype)
    blocks = inverse.view(-1, d, len(inverse))
    columns = inverse.new_empty(len(blocks), n, len(inverse)) if workspace is None else workspace[:, :n]
    for block, column in zip(blocks, columns, strict=True):
        matmul(inputs, block, out=column)
    return columns.view(len(blocks), n, len(blocks), d)


def leverage(columns: Tensor, inputs: Tensor) -> Tensor:
    """K = JᵀH⁻¹J (n, F, F), float64, symmetric."""
    inputs = inputs.to(columns.dtype)[:, :, None]
    gram = torch.stack([(column @ inputs)[:, :, 0] for column in columns], 1).double()
    return 0.5 * (gram + gram.mT)


def downdate(columns: Tensor, gram: Tensor, hessians: Tensor, projection: Tensor) -> Tensor:
    """(H − J S Jᵀ)⁻¹b − H⁻¹b = Y S (I − K S)⁻¹ Jᵀ H⁻¹b for one right-hand side a sample (n, m, k).

    Args:
        columns: Y (F, n, F, D).
        gram: K (n, F, F).
        hessians: S in directions (n, F, F).
        projection: JᵀH⁻¹b (n, F), float64.
    """
    return combine(columns, reaction(gram, hessians, projection))


def reaction(gram: Tensor, hessians: Tensor, projection: Tensor) -> Tensor:
    """S (I − K S)⁻¹ JᵀH⁻¹b (n, F): the coefficients of Y in `downdate`."""
    identity = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    return torch.einsum("nab,nb->na", hessians, torch.linalg.solve(identity - gram @ hessians, projection))


def combine(columns: Tensor, coefficients: Tensor) -> Tensor:
    """Y·coefficients: (F, n, F, D) and (n, F) to (n, F, D)."""
    coefficients = coefficients.to(columns.dtype)[:, :, None, None]
    total = coefficients[:, 0] * columns[0]
    for b in range(1, len(columns)):
        total.addcmul_(coefficients[:, b], columns[b])
    return total


def joint_columns(inverse: Tensor, inputs: Tensor) -> Tensor:
    """Y = H⁻¹J (n, g·F, P') of samples that leave together, inputs (n, g, D); J has the columns of all samples of a unit."""
    n, g, _ = inputs.shape
    columns = influence_columns(inverse, inputs.flatten(0, 1))
    return columns.view(len(columns), n, g, -1).permute(1, 2, 0, 3).flatten(1, 2)


def joint_reaction(columns: Tensor, inputs: Tensor, hessians: Tensor) -> Tensor:
    """S (I − K S)⁻¹ = (I − S K)⁻¹ S (n, g·F, g·F) with K = JᵀY, so that (H − J S Jᵀ)⁻¹b = H⁻¹b + Y·`joint_reaction`·JᵀH⁻¹b.

    Not finite where H − J S Jᵀ is singular.

    Args:
        columns: Y (n, g·F, P').
        inputs: (n, g, D).
        hessians: the blocks (n, g, F, F) of S.
    """
    n, g, f, _ = hessians.shape
    gram = torch.einsum("ngk,nrak->ngar", inputs, columns.unflatten(2, (f, -1)))
    pulled = torch.einsum("ngab,ngbr->ngar", hessians, gram).flatten(1, 2)
    blocks = hessians.new_zeros(n, g, f, g, f)
    blocks.diagonal(dim1=1, dim2=3).copy_(hessians.permute(0, 2, 3, 1))
    identity = torch.eye(g * f, dtype=gram.dtype, device=gram.device)
    return torch.linalg.solve_ex(identity - pulled, blocks.flatten(3, 4).flatten(1, 2))[0]
