"""What an engine found when units left: the stream that curvature, divergence and columns are made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

DRAW_ERROR = "lsi_draw_error"  # among the diagnostics
AT_OPTIMUM = "at_optimum"  # among those of a reference that is trained on: whether it came there
LSI_IMAGE, LSI_TEXT = "lsi_image", "lsi_text"  # of each projection of pairs alone
CLOSED_FORM, CORRECTED, REFINED, CONVERGED, TRAINED = "closed form", "corrected", "refined", "converged", "trained"


@dataclass(frozen=True, slots=True, eq=False)
class Removed:
    """n units that left, one by one, each of g samples.

    Attributes:
        units: (n, g) the samples of each; `PADDING` where one has fewer.
        positions: (n,) which of the units that were asked for they are.
        params: of the model with all samples, in the coordinates of the problem.
        shift: (n, …) params without the unit minus `params`.
        outputs: (n, g, K) float64, of what left under the model without it.
        refinement: how the shift was made: one of the words above.
        remaining: (n,) float64, what is estimated to be missing of the shift, relative to it in the metric of the posterior;
            NaN where nothing is known.
        diagnostics: more columns, (n,) each.
        epoch: of training, where the shift is from along the way.
        hessian_scale: (n, K) what the Hessian of the likelihood of all samples is multiplied by, output by output, where the
            likelihood itself is found anew without the unit; None where it is held.
        own: (n, …) what the units say of the curvature, in the form of its structure, where the engine saw it on its way.
        own_paired: (n, …) the geometric mean of that of two halves of what is drawn: its square is right on average, where that
            of `own` is too large; None where nothing is drawn.
    """

    units: Tensor
    positions: np.ndarray
    params: Tensor
    shift: Tensor
    outputs: Tensor
    refinement: str
    remaining: Tensor
    diagnostics: Mapping[str, Tensor] = field(default_factory=dict)
    epoch: int | None = None
    hessian_scale: Tensor | None = None
    own: Tensor | None = None
    own_paired: Tensor | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the shift is near enough to its optimum for the curvature of the others to be evaluated there."""
        return self.refinement in (REFINED, CONVERGED, TRAINED)
