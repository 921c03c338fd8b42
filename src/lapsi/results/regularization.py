"""How the regularisation was chosen: what was tried, and what is told of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from lapsi.results.provenance import Count, Real, Text
from lapsi.settings.model import EACH, NONE, ONE
from lapsi.settings.objective import PAPER_DECAY

SMALLEST: Final = "smallest"
LARGEST: Final = "largest"
SCALED = {EACH: "each by itself", ONE: "by one factor", NONE: "not at all"}
NAMES = {EACH: "each scaled by itself", ONE: "all by one factor", NONE: "not scaled"}
MEANS = {
    SMALLEST: "so that a smaller one may be better still",
    LARGEST: "as where the features say nothing of the targets",
}
End = Literal["", "smallest", "largest"]
Scaling = Annotated[str, Field(strict=True, pattern=f"^({EACH}|{ONE}|{NONE})$")]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class Trial:
    """One weight decay with one scaling.

    Attributes:
        weight_decay: of all samples; a fit on fewer has the same prior precision in all.
        standardize: how features were scaled.
        loo_loss, error: loss of samples that are left out, or held out, in nats a sample, and its standard error.
        log_evidence: ln marginal likelihood (Laplace) of the samples that were trained on, nats; None where samples were held
            out and no Hessian was made.
        n_trained: their number, those that were held out in turn or once included.
    """

    weight_decay: Positive
    standardize: Scaling
    loo_loss: Real
    error: Real
    log_evidence: Real | None
    n_trained: Count


@dataclass(frozen=True, slots=True)
class Regularization:
    """What was chosen, and among what.

    Attributes:
        asked: the settings that were to be chosen, of weight_decay and standardize.
        chosen: the trial with the least loss of those on the most samples.
        trials: all, by scaling and weight decay.
        n_losses: samples whose losses were averaged.
        end: of the range of weight decays, where the least loss is at one: `"smallest"` or `"largest"`; else "".
    """

    asked: tuple[Text, ...]
    chosen: Trial
    trials: tuple[Trial, ...]
    n_losses: Count
    end: End = ""

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "asked": list(self.asked), "trials": [asdict(trial) for trial in self.trials]}

    def at(self, weight_decay: float) -> Trial | None:
        """The trial of another weight decay, all else as chosen."""
        same = [trial for trial in self.curve(self.chosen.standardize) if trial.weight_decay == weight_decay]
        return same[0] if same else None

    @property
    def other(self) -> Trial | None:
        """The best trial of the other scaling, where both were tried on as many samples."""
        rest = [trial for trial in self.trials if trial.standardize != self.chosen.standardize]
        rest = [trial for trial in rest if trial.n_trained == self.chosen.n_trained]
        return min(rest, key=lambda trial: trial.loo_loss, default=None)

    def groups(self) -> list[tuple[str, int]]:
        """Scaling and number of samples of every curve, that of the chosen trial first."""
        first = (self.chosen.standardize, self.chosen.n_trained)
        return list(dict.fromkeys([first, *((trial.standardize, trial.n_trained) for trial in self.trials)]))

    def curve(self, standardize: str, n_trained: int | None = None) -> list[Trial]:
        """The trials of a scaling on as many samples as the chosen one, or on `n_trained`, by weight decay."""
        size = self.chosen.n_trained if n_trained is None else n_trained
        return [trial for trial in self.trials if (trial.standardize, trial.n_trained) == (standardize, size)]

    def sentence(self) -> str:
        """What is told of it, in one line."""
        chosen, paper, other = self.chosen, self.at(PAPER_DECAY), self.other
        held = chosen.log_evidence is None
        loss = f"{'held-out' if held else 'leave-one-out'} loss {chosen.loo_loss:.3f} nats"
        if "weight_decay" in self.asked:
            would = "" if paper is None or paper == chosen else f" ({PAPER_DECAY:g} would give {paper.loo_loss:.3f})"
            parts = [f"weight decay {chosen.weight_decay:g} chosen by {loss}{would}"]
        else:
            parts = [f"{loss} at weight decay {chosen.weight_decay:g}"]
        beside = "" if other is None else f" ({SCALED[other.standardize]}: {other.loo_loss:.3f})"
        parts.append(f"features scaled {SCALED[chosen.standardize]}{beside}")
        if self.end:
            parts.append(f"the loss is least at the {self.end} weight decay that was tried, {MEANS[self.end]}")
        return "; ".join(parts)


def regularization_from_dict(values: dict[str, Any]) -> Regularization:
    """From `Regularization.to_dict`."""
    known = {name: values[name] for name in ("asked", "n_losses", "end") if name in values}
    trials = tuple(_trial(each) for each in values["trials"])
    return Regularization(**known | {"asked": tuple(values["asked"])}, chosen=_trial(values["chosen"]), trials=trials)


def chosen_of(values: dict[str, Any] | None) -> Regularization | None:
    """How the regularisation of a run was chosen (`Provenance.regularization`); None where it was given."""
    return None if values is None else regularization_from_dict(values)


def _trial(values: dict[str, Any]) -> Trial:
    return Trial(**{name: values[name] for name in Trial.__dataclass_fields__})
