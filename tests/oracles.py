"""Slow dense brute force in float64, written from the definitions and independent of the package's own algebra.

Parameters are W (C, D) flattened class-major; everything is retrained and every matrix is formed.
"""

import numpy as np
import torch
from scipy.linalg import block_diag
from scipy.special import log_softmax, softmax


def make_data(n_samples, n_features, n_classes, seed=0, noise=1.5):
    """Gaussian blobs with a constant 1 as last column; every class occurs."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n_samples) % n_classes)
    centres = rng.normal(size=(n_classes, n_features))
    features = centres[labels] + noise * rng.normal(size=(n_samples, n_features))
    return np.c_[features, np.ones(n_samples)], labels


def objective(weights, inputs, labels, weight_decay):
    """Mean-form objective, its gradient (P,) and Hessian (P, P)."""
    n, d = inputs.shape
    c = weights.size // d
    logits = inputs @ weights.reshape(c, d).T
    p = softmax(logits, 1)
    value = -log_softmax(logits, 1)[np.arange(n), labels].mean() + 0.5 * weight_decay * weights @ weights
    residual = p - np.eye(c)[labels]
    gradient = (residual.T @ inputs / n).ravel() + weight_decay * weights
    return value, gradient, ggn(p, inputs) / n + weight_decay * np.eye(c * d)


def ggn(probabilities, inputs):
    """Sum of S_j ⊗ x_j x_jᵀ (P, P), S_j = diag(p_j) − p_j p_jᵀ."""
    c, d = probabilities.shape[1], inputs.shape[1]
    hessians = np.eye(c) * probabilities[:, None, :] - probabilities[:, :, None] * probabilities[:, None, :]
    return np.einsum("jab,jk,jl->akbl", hessians, inputs, inputs, optimize=True).reshape(c * d, c * d)


def train(inputs, labels, n_classes, weight_decay, start=None):
    """The optimum (P,) by damped Newton to a step of 1e-11."""
    weights = np.zeros(n_classes * inputs.shape[1]) if start is None else start.copy()
    for _ in range(200):
        value, gradient, hessian = objective(weights, inputs, labels, weight_decay)
        step = -np.linalg.solve(hessian, gradient)
        length = 1.0
        while (
            objective(weights + length * step, inputs, labels, weight_decay)[0] > value + 1e-14 * abs(value) and length > 1e-6
        ):
            length /= 2
        weights = weights + length * step
        if np.linalg.norm(step) <= 1e-11 * (1 + np.linalg.norm(weights)):
            return weights
    raise AssertionError("the oracle did not converge")


def leave_one_out_weights(inputs, labels, n_classes, weight_decay, index, removal="mean", start=None):
    """The optimum (P,) of the data without sample `index`."""
    keep = np.arange(len(labels)) != index
    n = len(labels)
    decay = weight_decay if removal == "mean" else weight_decay * n / (n - 1)
    return train(inputs[keep], labels[keep], n_classes, decay, start)


def precision(structure, weights, inputs, n_classes, prior):
    """Dense posterior precision (P, P) of a structure at `weights`."""
    d = inputs.shape[1]
    p = softmax(inputs @ weights.reshape(n_classes, d).T, 1)
    if structure == "kfac":
        output = sum(np.diag(q) - np.outer(q, q) for q in p) / len(p)
        curvature = np.kron(output, inputs.T @ inputs)
    else:
        curvature = ggn(p, inputs)
        if structure == "diag":
            curvature = np.diag(np.diag(curvature))
    return curvature + prior * np.eye(n_classes * d)


def kl(shift, with_sample, without_sample):
    """KL(N(0, with⁻¹) ‖ N(shift, without⁻¹)) and its two parts (mean, curvature), by the plain formula."""
    ratio = np.linalg.solve(with_sample, without_sample)
    mean = 0.5 * shift @ without_sample @ shift
    logdet = np.linalg.slogdet(without_sample)[1] - np.linalg.slogdet(with_sample)[1]
    return mean, 0.5 * (np.trace(ratio) - len(shift) - logdet)


def renyi(shift, with_sample, without_sample, order):
    """(mean, curvature) of the Rényi divergence; both are infinite where the mixture is not positive definite."""
    mixture = order * with_sample + (1 - order) * without_sample
    if np.linalg.eigvalsh(mixture).min() <= 0:
        return np.inf, np.inf
    first, second = np.linalg.inv(with_sample), np.linalg.inv(without_sample)
    mixed = order * second + (1 - order) * first
    determinants = [np.linalg.slogdet(each)[1] for each in (mixed, first, second)]
    curvature = (determinants[0] - (1 - order) * determinants[1] - order * determinants[2]) / (2 * (1 - order))
    return 0.5 * order * shift @ np.linalg.solve(mixed, shift), curvature


def lsi(structure, inputs, labels, n_classes, weight_decay, index, prior_precision="map", removal="mean", form="exact"):
    """(mean, curvature) of one sample, by retraining; `form="removal"` holds the curvature of the other samples."""
    n = len(labels)
    whole = train(inputs, labels, n_classes, weight_decay)
    without = leave_one_out_weights(inputs, labels, n_classes, weight_decay, index, removal, whole)
    keep = np.arange(n) != index
    if prior_precision == "map":
        prior, prior_left = n * weight_decay, (n - (removal == "mean")) * weight_decay
    else:
        prior = prior_left = prior_precision
    before = precision(structure, whole, inputs, n_classes, prior)
    at = without if form == "exact" else whole
    after = precision(structure, at, inputs[keep], n_classes, prior_left)
    return kl(without - whole, before, after)


def network_jacobian(forward, params):
    """∂logits/∂params (n, C, P) by automatic differentiation."""
    return torch.autograd.functional.jacobian(forward, params)


def network_precision(structure, forward, params, prior, layer_inputs, layer_sizes):
    """Dense posterior precision (P, P) of any network at `params`, from the Jacobian of its logits.

    `layer_inputs` are the (n, in) inputs of the layers with their constant 1 (kfac); `layer_sizes` their numbers of parameters.
    """
    logits = forward(params)
    p = torch.softmax(logits, 1)
    hessians = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    jacobian = network_jacobian(forward, params)
    if structure != "kfac":
        curvature = torch.einsum("jap,jab,jbq->pq", jacobian, hessians, jacobian)
        if structure == "diag":
            curvature = torch.diag(torch.diagonal(curvature))
        return (curvature + prior * torch.eye(len(params), dtype=torch.float64)).numpy()
    blocks = []
    for part, inputs in zip(jacobian.split(layer_sizes, 2), layer_inputs, strict=True):
        # the bias column of a layer is ∂z/∂a itself
        by_unit = part.unflatten(2, (-1, inputs.shape[1]))[..., -1]
        output = torch.einsum("jao,jab,jbp->op", by_unit, hessians, by_unit) / len(inputs)
        blocks.append(np.kron(output, inputs.T @ inputs))
    return block_diag(*blocks) + prior * np.eye(len(params))


class Glm:
    """A linear model of any likelihood with weighted samples: brute force for what leaves together."""

    def __init__(self, kind, inputs, targets, weights=None, decay=0.05, prior_precision="map", removal="mean", noise=None):
        self.kind, self.inputs, self.targets, self.noise = kind, inputs, targets, noise
        self.weights = np.ones(len(inputs)) if weights is None else weights
        self.decay, self.prior_precision, self.removal = decay, prior_precision, removal

    def mean(self, outputs):
        """Prediction (n, K)."""
        if self.kind == "gaussian":
            return outputs
        return softmax(outputs, 1) if self.kind == "softmax" else 1 / (1 + np.exp(-outputs))

    def hessians(self, outputs):
        """∂²loss/∂z² (n, K, K)."""
        p, k = self.mean(outputs), outputs.shape[1]
        if self.kind == "gaussian":
            return np.broadcast_to(np.diag(1 / self.noise), (len(p), k, k))
        spread = np.eye(k) * p[:, :, None]
        return spread - (p[:, :, None] * p[:, None, :] if self.kind == "softmax" else np.eye(k) * np.square(p)[:, :, None])

    def losses(self, outputs):
        """(n,) nats."""
        if self.kind == "gaussian":
            return 0.5 * (np.square(outputs - self.targets) / self.noise + np.log(2 * np.pi * self.noise)).sum(1)
        if self.kind == "softmax":
            return -log_softmax(outputs, 1)[np.arange(len(outputs)), self.targets]
        return np.logaddexp(0, (1 - 2 * self.targets) * outputs).sum(1)

    def residuals(self, outputs):
        """∂loss/∂z (n, K)."""
        target = np.eye(outputs.shape[1])[self.targets] if self.kind == "softmax" else self.targets
        return (self.mean(outputs) - target) / (self.noise if self.kind == "gaussian" else 1)

    def ggn(self, params, structure="full"):
        """Σ a_j S_j ⊗ x_jx_jᵀ (P, P) of a structure, without prior."""
        k, d = params.shape
        hessians = self.hessians(self.inputs @ params.T)
        if structure == "kfac":
            output = np.einsum("j,jab->ab", self.weights, hessians) / self.weights.sum()
            return np.kron(output, (self.inputs.T * self.weights) @ self.inputs)
        dense = np.einsum("j,jab,jk,jl->akbl", self.weights, hessians, self.inputs, self.inputs, optimize=True).reshape(
            k * d, k * d
        )
        return np.diag(np.diag(dense)) if structure == "diag" else dense

    def train(self, n_outputs):
        """The optimum (K, D), by damped Newton."""
        params, total = np.zeros((n_outputs, self.inputs.shape[1])), self.weights.sum()

        def value(params):
            return self.weights @ self.losses(self.inputs @ params.T) + 0.5 * total * self.decay * np.square(params).sum()

        for _ in range(200):
            slope = (self.residuals(self.inputs @ params.T).T * self.weights) @ self.inputs + total * self.decay * params
            hessian = self.ggn(params) + total * self.decay * np.eye(params.size)
            step = -np.linalg.solve(hessian, slope.ravel()).reshape(params.shape)
            length, start = 1.0, value(params)
            while value(params + length * step) > start + 1e-14 * abs(start) and length > 1e-6:
                length /= 2
            params = params + length * step
            if np.linalg.norm(step) <= 1e-12 * (1 + np.linalg.norm(params)):
                return params
        raise AssertionError("the oracle did not converge")

    def without(self, rows):
        """The same without some samples."""
        keep = np.setdiff1d(np.arange(len(self.inputs)), rows)
        decay = self.decay
        if self.removal == "sum":
            decay = self.decay * self.weights.sum() / self.weights[keep].sum()
        return Glm(
            self.kind,
            self.inputs[keep],
            self.targets[keep],
            self.weights[keep],
            decay,
            self.prior_precision,
            "mean",
            self.noise,
        )

    def prior(self):
        """δ."""
        return self.weights.sum() * self.decay if self.prior_precision == "map" else self.prior_precision

    def lsi(self, structure, rows, n_outputs):
        """(mean, curvature) when the samples `rows` leave together."""
        return kl(*self.posteriors(structure, rows, n_outputs))

    def posteriors(self, structure, rows, n_outputs):
        """Shift (P,), and precisions (P, P) with and without the samples `rows`."""
        left = self.without(np.atleast_1d(rows))
        whole, without = self.train(n_outputs), left.train(n_outputs)
        eye = np.eye(whole.size)
        before = self.ggn(whole, structure) + self.prior() * eye
        after = left.ggn(without, structure) + left.prior() * eye
        return (without - whole).ravel(), before, after
