"""What a curvature structure offers to scoring."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from lapsi.precision.base import KLTerms


class Curvature(ABC):
    """The Laplace posterior of one structure at the MAP of a problem, and its change under removals."""

    @abstractmethod
    def kl_terms(self, indices: Tensor, shift: Tensor) -> KLTerms:
        """LSI of samples `indices` (n,) whose parameters move by `shift` (n, C−1, D), in closed form.

        `diag` and `kfac` take the change of the other samples' curvature to first order in the shift; `full` takes
        the removed sample's own curvature only (its removal form).
        """

    @abstractmethod
    def kl_terms_exact(self, indices: Tensor, shift: Tensor) -> KLTerms:
        """The same with the curvature of the other samples evaluated at the shifted parameters, by a pass over them.

        `full` keeps its removal form.
        """
