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
