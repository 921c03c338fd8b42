"""How LSI of a small network at its optimum ranks, against training on without samples; prints one JSON line.

    python benchmarks/small_network.py [--samples 300] [--hidden 8] [--weight-decay 0.003] [--checks 24]

Handwritten digits, a tenth of them with wrong labels, a network of one hidden layer (tanh) trained by L-BFGS. For each way (the
step in the eigenbasis, the same refined, the whole GGN, and the posterior diagonal in the parameters) the correlations with the
LSI of models that were trained on to the optimum without each of the checked samples.
"""

from __future__ import annotations

import argparse
import json

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import lapsi

WAYS = {
    "ekfac": ("ekfac", 0),
    "ekfac refined": ("ekfac", None),
    "full": ("full", 0),
    "diag": ("diag", 0),
    "diag refined": ("diag", None),
}
TOLD = ("spearman", "pearson", "median_ratio", "n_unfinished")


def digits(n_samples: int) -> tuple[TensorDataset, np.ndarray]:
    """Of the first samples, with pixels from 0 to 1; and which of them have wrong labels."""
    generator = np.random.default_rng(0)
    pixels, labels = load_digits(return_X_y=True)
    flipped = np.sort(generator.choice(n_samples, n_samples // 10, replace=False))
    given = labels[:n_samples].copy()
    given[flipped] = (given[flipped] + generator.integers(1, 10, len(flipped))) % 10
    return TensorDataset(torch.from_numpy(pixels[:n_samples] / 16), torch.from_numpy(given)), flipped


def train(model: nn.Module, data: TensorDataset, weight_decay: float) -> float:
    """To the optimum of the mean loss + w/2 ‖params‖²; returns the norm of the gradient that is left."""
    inputs, labels = data.tensors
    params = list(model.parameters())
    optimizer = torch.optim.LBFGS(
        params, max_iter=20_000, max_eval=25_000, tolerance_grad=1e-9, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(inputs), labels)
        loss = loss + weight_decay / 2 * torch.stack([value.square().sum() for value in params]).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    closure()
    return float(torch.cat([value.grad.flatten() for value in params if value.grad is not None]).norm())


def main() -> None:
    """Trains once, scores in every way, and tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=300)
    parser.add_argument("--hidden", type=int, default=8)
    parser.add_argument("--weight-decay", type=float, default=0.003)
    parser.add_argument("--checks", type=int, default=24)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    data, flipped = digits(arguments.samples)
    model = nn.Sequential(nn.Linear(64, arguments.hidden), nn.Tanh(), nn.Linear(arguments.hidden, 10)).double()
    record = {"samples": arguments.samples, "gradient_norm": train(model, data, arguments.weight_decay)}
    for name, (curvature, refine) in WAYS.items():
        scores = lapsi.score_network(
            model,
            data,
            curvature=curvature,
            engine=lapsi.Ekfac(refine=arguments.samples if refine is None else refine),
            objective=lapsi.ObjectiveSpec(weight_decay=arguments.weight_decay),
            execution=lapsi.Execution(verify=arguments.checks),
            progress=False,
        )
        told, lsi = scores.provenance.verification or {}, scores.lsi
        above = (lsi[flipped][:, None] > np.delete(lsi, flipped)).mean()
        record[name] = {key: told.get(key) for key in TOLD} | {
            "auroc_of_wrong_labels": round(float(above), 4),
            "unconverged": scores.provenance.plan["unconverged"],
            "seconds_of_checks": round(scores.provenance.seconds["verify"], 1),
        }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
