"""What is minimised, and what a leaving sample changes of it."""

from __future__ import annotations

from dataclasses import dataclass

from lapsi.settings.option import Choice, Estimated, Number, check_options, option

MAP, AUTO = "map", "auto"
PAPER_DECAY = 0.01  # of the paper's probes
RESIDUALS = "residuals"
HELD, ANEW = "held", "anew"
BALANCED = "balanced"
TARGETS = "Targets"
REMOVALS = ("mean", "sum")


@dataclass(frozen=True, slots=True)
class ObjectiveSpec:
    """Weight decay, prior and removal convention.

    Attributes:
        weight_decay: w of the training objective (1/N) Σ loss + (w/2)·‖params‖²; biases included. `"auto"`: the one with the
            least leave-one-out loss, or of many outputs (engine `Local`) the least loss of held-out samples; with the engine
            `Retrain` it is 0.01, the paper's (Appendix N). 0 only with that engine and a number as `prior_precision`.
        prior_precision: `"map"` reads the weight decay as the prior (N·w with the sample, what `removal` leaves without it); a
            number is used for both posteriors (`1.0` reproduces the authors' code).
        removal: what stays fixed when a sample leaves. `"mean"`: w in the *mean* loss, as a retraining with the same optimiser
            settings does. `"sum"`: the total regularisation N·w; so it is with every recipe whose sums are divided by a public
            number (Poisson batches, clipped gradients).
        noise_variance: of numbers to predict, in their own units squared, one or one for each output. `"residuals"`: that of
            the residuals of the linear model per degree of freedom, where the marginal likelihood is largest.
        noise_removal: whether it stays what it is when a sample leaves (`"held"`), or is found `"anew"` from the residuals of
            the others.
        class_weight: `"balanced"` gives every class the same weight in all.
    """

    weight_decay: float | str = option(
        AUTO, Number(0, word=AUTO), "L2 weight w of the mean loss; auto: least leave-one-out loss (retrain: 0.01)."
    )
    prior_precision: float | str = option(
        MAP, Number(0, beyond=True, word=MAP), "'map' (N·w, the weight decay read as prior) or a number > 0."
    )
    removal: str = option("mean", Choice(REMOVALS), "mean: w stays fixed in the mean loss; sum: the total N·w does.")
    noise_variance: str | tuple[float, ...] = option(
        RESIDUALS, Estimated((RESIDUALS,)), "Of numbers to predict: how it is found, or its value.", panel=TARGETS
    )
    noise_removal: str = option(
        HELD,
        Choice((HELD, ANEW)),
        "held: the noise variance stays when a sample leaves; anew: it is found again.",
        panel=TARGETS,
    )
    class_weight: str | None = option(
        None, Choice((BALANCED,), optional=True), "balanced: every class weighs the same.", panel=TARGETS
    )

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def decay(self) -> float:
        """w, once it is known."""
        assert not isinstance(self.weight_decay, str), "the weight decay is chosen before it is used"
        return self.weight_decay

    @property
    def noise(self) -> tuple[float, ...]:
        """The noise variance of each output, once it is known; () before."""
        return () if isinstance(self.noise_variance, str) else self.noise_variance
