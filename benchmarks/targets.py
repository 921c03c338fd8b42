"""Numbers, several labels and weights against brute force: one JSON line a case.

    python benchmarks/targets.py [--limit N]

diabetes (442 x 10) with one and two targets: fixed noise, and noise found anew without each sample; digits (1,797 x 64) as the
four bits of their value, and with random and balanced weights. Without each of the samples that are compared everything is
estimated and trained anew by dense Newton steps in float64, and both posteriors are formed. The last line repeats all records.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from scipy.stats import spearmanr
from sklearn.datasets import load_diabetes, load_digits

import lapsi

W = 0.01
STRUCTURES = ("diag", "kfac", "full")
SETTINGS: dict[str, Any] = {"weight_decay": W, "verify": 0, "progress": False, "standardize": "each"}
Array = np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A linear model on weighted samples: residuals and Hessians (n, K, K) of the loss at outputs (n, K)."""

    inputs: Array
    targets: Array
    weights: Array
    residuals: Callable[[Array, Array], Array]
    hessians: Callable[[Array], Array]

    @property
    def strength(self) -> float:
        """Σ a·w."""
        return float(self.weights.sum() * W)

    def ggn(self, params: Array, structure: str) -> Array:
        """Of a structure, without prior."""
        hessians = self.hessians(self.inputs @ params.T)
        k = len(params)
        if structure == "kfac":
            mean = np.einsum("j,jab->ab", self.weights, hessians) / self.weights.sum()
            return np.kron(mean, (self.inputs.T * self.weights) @ self.inputs)
        blocks = [[(self.inputs.T * (self.weights * hessians[:, a, b])) @ self.inputs for b in range(k)] for a in range(k)]
        dense = np.block(blocks)
        return np.diag(np.diag(dense)) if structure == "diag" else dense

    def precision(self, params: Array, structure: str) -> Array:
        """With it."""
        return self.ggn(params, structure) + self.strength * np.eye(params.size)

    def optimum(self, start: Array) -> Array:
        """By Newton steps from a point that is near."""
        params = start
        for _ in range(100):
            residual = self.residuals(self.inputs @ params.T, self.targets)
            slope = (residual.T * self.weights) @ self.inputs + self.strength * params
            step = np.linalg.solve(self.precision(params, "full"), slope.ravel()).reshape(params.shape)
            params = params - step
            if np.linalg.norm(step) <= 1e-11 * np.linalg.norm(params):
                return params
        raise RuntimeError("Newton's method did not converge")

    def without(self, row: int) -> Model:
        """The same without a sample."""
        keep = np.arange(len(self.inputs)) != row
        return replace(self, inputs=self.inputs[keep], targets=self.targets[keep], weights=self.weights[keep])


def numbers(inputs: Array, targets: Array, noise: Array) -> Model:
    precision = np.diag(1 / noise)
    return Model(
        inputs,
        targets,
        np.ones(len(inputs)),
        lambda z, y: (z - y) / noise,
        lambda z: np.broadcast_to(precision, (len(z), *precision.shape)),
    )


def labels(inputs: Array, present: Array) -> Model:
    eye = np.eye(present.shape[1])

    def hessians(outputs: Array) -> Array:
        return (expit(outputs) * expit(-outputs))[:, :, None] * eye

    return Model(inputs, present, np.ones(len(inputs)), lambda z, y: expit(z) - y, hessians)


def classes(inputs: Array, codes: Array, weights: Array) -> Model:
    eye = np.eye(codes.max() + 1)

    def hessians(outputs: Array) -> Array:
        p = softmax(outputs, 1)
        return p[:, :, None] * eye - p[:, :, None] * p[:, None, :]

    return Model(inputs, codes, weights, lambda z, y: softmax(z, 1) - eye[y], hessians)


def noise_of(inputs: Array, targets: Array) -> Array:
    """σ² = RSS/(N − degrees of freedom) of each column, by iterating."""
    n, d = inputs.shape
    gram, found = inputs.T @ inputs, []
    for y in targets.T:
        noise = last = 1.0
        for _ in range(200):
            inverse = np.linalg.inv(gram + n * W * noise * np.eye(d))
            noise = float(np.sum((y - inputs @ (inverse @ (inputs.T @ y))) ** 2) / (n - np.trace(inverse @ gram)))
            if abs(noise / last - 1) < 1e-14:
                break
            last = noise
        found.append(noise)
    return np.array(found)


def divergence(before: Array, after: Array, shift: Array) -> float:
    """KL(N(0, before⁻¹) ‖ N(shift, after⁻¹)), the curvature by the eigenvalues of the ratio less 1."""
    factor = np.linalg.cholesky(before)
    half = np.linalg.solve(factor, after - before)
    ratio = np.linalg.eigvalsh(np.linalg.solve(factor, half.T))
    return float(0.5 * (shift @ after @ shift + np.sum(ratio - np.log1p(ratio))))


def brute_force(model: Model, rows: Array, n_outputs: int, anew: bool = False) -> dict[str, Array]:
    """LSI of some rows, by structure."""
    whole = model.optimum(np.zeros((n_outputs, model.inputs.shape[1])))
    before = {structure: model.precision(whole, structure) for structure in STRUCTURES}
    found: dict[str, list[float]] = {structure: [] for structure in STRUCTURES}
    for row in rows:
        left = model.without(row)
        left = numbers(left.inputs, left.targets, noise_of(left.inputs, left.targets)) if anew else left
        params = left.optimum(whole)
        for structure in STRUCTURES:
            after = left.precision(params, structure)
            found[structure].append(divergence(before[structure], after, (params - whole).ravel()))
    return {structure: np.array(values) for structure, values in found.items()}


def scaled(features: Array, weights: Array) -> Array:
    mean = np.average(features, 0, weights)
    deviation = np.sqrt(np.average((features - mean) ** 2, 0, weights))
    return np.c_[(features - mean) / np.where(deviation > 0, deviation, 1), np.ones(len(features))]


def compare(case: str, features: Array, labels: Array, reference: dict[str, Array], **options: Any) -> list[dict[str, Any]]:
    """One record a structure."""
    records = []
    for structure in STRUCTURES:
        lsi = lapsi.score(features, labels, curvature=structure, **SETTINGS, **options).lsi
        error, rank = np.abs(lsi / reference[structure] - 1), float(spearmanr(lsi, reference[structure])[0])
        figures = {"rows": len(lsi), "max": float(error.max()), "median": float(np.median(error)), "spearman": rank}
        records.append({"case": case, "curvature": structure, **figures})
        print(json.dumps(records[-1]), flush=True)
    return records


def of_numbers(limit: int) -> list[dict[str, Any]]:
    """diabetes, with one target and with two."""
    features, one = load_diabetes(return_X_y=True)
    n, records = len(one), []
    inputs, rows = scaled(features, np.ones(n)), spread(n, limit)
    for y in (one[:, None], np.c_[one, 100 * features[:, 2] + np.random.default_rng(0).normal(size=n)]):
        targets, k = (y - y.mean(0)) / y.std(0), y.shape[1]
        noise = noise_of(inputs, targets)
        model, given = numbers(inputs, targets, noise), tuple(noise * y.var(0))
        held, anew = brute_force(model, rows, k), brute_force(model, rows, k, anew=True)
        records += compare(f"diabetes, {k} targets, noise held", features, y, held, noise_variance=given, indices=rows)
        records += compare(f"diabetes, {k} targets, noise anew", features, y, anew, noise_removal="anew", indices=rows)
    return records


def of_digits(limit: int) -> list[dict[str, Any]]:
    """Bits of their value, and classes with weights."""
    pixels, digits = load_digits(return_X_y=True)
    n = len(digits)
    rows, present = spread(n, min(60, limit)), (digits[:, None] >> np.arange(4)) & 1
    reference = brute_force(labels(scaled(pixels, np.ones(n)), present), rows, 4)
    records = compare("digits, 4 labels", pixels, present, reference, indices=rows)
    few, random = pixels[:, pixels.std(0) > 3][:, :20], np.random.default_rng(0).uniform(0.2, 3.0, n)
    balanced = (n / (len(np.unique(digits)) * np.bincount(digits)))[digits]
    reference = brute_force(classes(scaled(few, random), digits, random), rows, 10)
    records += compare("digits, random weights", few, digits, reference, indices=rows, sample_weight=random)
    reference = brute_force(classes(scaled(few, np.ones(n)), digits, balanced), rows, 10)  # balancing scales no features
    return records + compare("digits, balanced", few, digits, reference, indices=rows, class_weight="balanced")


def spread(n: int, limit: int) -> Array:
    """At most `limit` of n rows, evenly."""
    return np.unique(np.linspace(0, n - 1, min(n, limit)).astype(int))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--limit", type=int, default=442, help="compare so many samples at most, spread evenly")
    limit = parser.parse_args().limit
    print(json.dumps({"records": of_numbers(limit) + of_digits(limit)}))


if __name__ == "__main__":
    main()
