"""One model trained alone with torch.optim, autograd and a loop over steps: what the batched engine must reproduce."""

import itertools

import torch
from torch import nn

ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


def make_model(n_features, hidden, n_classes, activation, seed):
    """nn.Sequential with torch's default initialisation, in float64."""
    torch.manual_seed(seed)
    sizes = [n_features, *hidden, n_classes]
    layers = []
    for position, (width, out) in enumerate(itertools.pairwise(sizes)):
        layers.append(nn.Linear(width, out))
        if position < len(sizes) - 2:
            layers.append(ACTIVATIONS[activation]())
    return nn.Sequential(*layers).double()


def flat(model):
    """All weights as (P,), the bias as the last column of each layer."""
    layers = [layer for layer in model if isinstance(layer, nn.Linear)]
    return torch.cat([torch.cat([layer.weight, layer.bias[:, None]], 1).flatten() for layer in layers]).detach()


def make_optimizer(model, recipe, weight_decay):
    parameters = model.parameters()
    if recipe.optimizer == "sgd":
        momentum = {"momentum": recipe.momentum, "nesterov": recipe.nesterov}
        return torch.optim.SGD(parameters, lr=recipe.learning_rate, weight_decay=weight_decay, **momentum)
    kind = torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW
    options = {"lr": recipe.learning_rate, "betas": recipe.betas, "eps": recipe.epsilon}
    return kind(parameters, weight_decay=weight_decay, **options)


def make_schedule(optimizer, recipe):
    if recipe.schedule == "step":
        return torch.optim.lr_scheduler.StepLR(optimizer, recipe.step_epochs, recipe.step_factor)
    if recipe.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    return torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def ascend(model, radius):
    """Moves the parameters to SAM's worst point; returns how to come back."""
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    norm = torch.sqrt(sum((gradient**2).sum() for gradient in gradients))
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.add_(radius * gradient / norm)

    def back():
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter.sub_(radius * gradient / norm)

    return back


def train(features, labels, hidden, n_classes, activation, recipe, weight_decay, seed, batches_of_epoch, without=None):
    """Params (P,) after training without sample `without`.

    `batches_of_epoch(epoch)` gives the rows of each step and the divisor of the summed loss, None for the mean.
    """
    model = make_model(features.shape[1], hidden, n_classes, activation, seed)
    optimizer = make_optimizer(model, recipe, weight_decay)
    schedule = make_schedule(optimizer, recipe)
    for epoch in range(recipe.epochs):
        for rows, divisor in batches_of_epoch(epoch):
            kept = [row for row in rows if row != without]

            def backward(kept=kept, divisor=divisor):
                optimizer.zero_grad()
                total = nn.functional.cross_entropy(model(features[kept]), labels[kept], reduction="sum")
                (total / (divisor or max(len(kept), 1))).backward()

            backward()
            if recipe.sam_radius > 0:
                back = ascend(model, recipe.sam_radius)
                backward()
                back()
            optimizer.step()
        schedule.step()
    return flat(model)
