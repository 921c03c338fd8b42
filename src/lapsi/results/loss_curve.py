"""The leave-one-out loss by weight decay as a small picture for pages: SVG, text in the colour of what is around it."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, log10

from lapsi.results.regularization import NAMES, Regularization, Trial
from lapsi.settings.model import EACH, NONE, ONE

WIDTH, HEIGHT = 420, 190
LEFT, RIGHT, TOP, BOTTOM = 50, 12, 12, 40  # margins
COLOURS = {EACH: "#0072B2", ONE: "#D55E00", NONE: "currentColor"}
LABEL = "Loss of unseen samples (nats) by weight decay"


@dataclass(frozen=True, slots=True)
class _Frame:
    """What of the plane is shown: decades of the weight decay, and losses."""

    left: float
    right: float
    low: float
    high: float

    def x(self, decade: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (decade - self.left) / (self.right - self.left)

    def y(self, loss: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (self.high - loss) / (self.high - self.low)

    def at(self, trial: Trial) -> tuple[float, float]:
        return self.x(log10(trial.weight_decay)), self.y(trial.loo_loss)


def loss_curve(found: Regularization) -> str:
    """An SVG element; all text in it is lapsi's own. A ring marks what was chosen."""
    curves = {name: found.curve(name) for name, n_trained in found.groups() if n_trained == found.chosen.n_trained}
    frame = _frame([trial for curve in curves.values() for trial in curve])
    x, y = frame.at(found.chosen)
    marks = [_line(curve, COLOURS[name], frame) for name, curve in curves.items()]
    marks.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="none" stroke="currentColor" stroke-width="1.5"/>')
    for place, name in enumerate(curves):
        x, y = WIDTH - RIGHT, HEIGHT - BOTTOM - 8 - 14 * place
        marks.append(f'<text x="{x}" y="{y}" text-anchor="end" fill="{COLOURS[name]}">{NAMES[name]}</text>')
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{LABEL}" '
        f'font-size="11" font-family="sans-serif" fill="currentColor">{_axes(frame)}{"".join(marks)}</svg>'
    )


def _frame(trials: list[Trial]) -> _Frame:
    decades, losses = [log10(trial.weight_decay) for trial in trials], [trial.loo_loss for trial in trials]
    spare = 0.05 * (max(losses) - min(losses)) or 0.05
    return _Frame(min(decades) - 0.1, max(decades) + 0.1, min(losses) - spare, max(losses) + spare)


def _line(curve: list[Trial], colour: str, frame: _Frame) -> str:
    points = [frame.at(trial) for trial in curve]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2" fill="{colour}"/>' for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>{dots}'


def _round_numbers(low: float, high: float) -> list[float]:
    """Two to five multiples of 1, 2 or 5 times a power of ten within the range."""
    power = 10.0 ** floor(log10((high - low) / 2))
    step = max(step for step in (power, 2 * power, 5 * power) if 2 * step <= high - low)
    return [float(f"{count * step:.6g}") for count in range(ceil(low / step), floor(high / step) + 1)]


def _axes(frame: _Frame) -> str:
    bottom, marks = HEIGHT - BOTTOM, []
    for decade in range(ceil(frame.left), floor(frame.right) + 1):
        x = frame.x(decade)
        marks.append(f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{bottom + 4}" stroke="currentColor"/>')
        marks.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{10.0**decade:g}</text>')
    for loss in _round_numbers(frame.low, frame.high):
        y = frame.y(loss)
        marks.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{loss:g}</text>')
        marks.append(f'<line x1="{LEFT - 4}" y1="{y:.1f}" x2="{LEFT}" y2="{y:.1f}" stroke="currentColor"/>')
    corner = f"{LEFT},{TOP} {LEFT},{bottom} {WIDTH - RIGHT},{bottom}"
    middle = (LEFT + WIDTH - RIGHT) / 2
    return (
        f'<polyline points="{corner}" fill="none" stroke="currentColor" stroke-width="0.8"/>{"".join(marks)}'
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">weight decay</text>'
        f'<text x="{LEFT + 6}" y="{TOP + 4}">loss of unseen samples, nats</text>'
    )
