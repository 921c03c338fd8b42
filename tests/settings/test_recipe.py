import math
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lapsi.errors import InputError
from lapsi.settings.recipe import PRESETS, Recipe
from lapsi.training.optimizers import learning_rate
from lapsi.training.sampling import batches, steps_per_epoch


def test_the_paper_preset_is_the_papers():
    paper = PRESETS["paper"]
    assert (paper.optimizer, paper.learning_rate, paper.momentum, paper.nesterov) == ("sgd", 0.04, 0.9, True)
    assert (paper.epochs, paper.seeds, paper.batching, paper.schedule) == (1000, 3, "full", "constant")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "lbfgs"}, "optimizer is 'lbfgs'; expected one of 'sgd', 'adam', 'adamw'"),
        ({"schedule": "warm"}, "schedule is 'warm'"),
        ({"batching": "random"}, "batching is 'random'"),
        ({"learning_rate": 0}, "learning_rate is 0; expected a finite number greater than 0"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"momentum": 1.0}, "momentum is 1.0; expected a finite number of at least 0 and below 1"),
        ({"betas": (0.9, 1.5)}, "betas is 1.5"),
        ({"betas": (0.9,)}, "two numbers"),
        ({"epochs": -1}, "epochs is -1; expected an integer of at least 0"),
        ({"epochs": 1.5}, "epochs is 1.5"),
        ({"seeds": 0}, "seeds is 0"),
        ({"batch_size": 0, "batching": "shuffled"}, "batch_size is 0"),
        ({"batch_size": 8}, "batch_size is 8 but batching is 'full'"),
        ({"batching": "shuffled"}, "batching is 'shuffled' without a batch_size"),
        ({"noise_multiplier": 1.0}, "noise_multiplier is 1 without clip_norm"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
        ({"clip_norm": 1.0, "sam_radius": 0.1}, "SAM with per-sample clipping"),
        ({"momentum": 0.0}, "turn nesterov off"),
        ({"optimizer": "adam", "epsilon": 0}, "epsilon is 0; expected a finite number of at least 1e-30"),
        ({"optimizer": "adamw", "epsilon": 1e-45}, "epsilon is 1e-45; expected"),
        ({"optimizer": "adam", "momentum": 0.5}, "momentum is 0.5 but optimizer 'adam' has no use for it.* or choose 'sgd'"),
        ({"optimizer": "adamw", "nesterov": False}, "nesterov is False but optimizer 'adamw' has no use"),
        ({"betas": (0.8, 0.99)}, r"betas is \(0.8, 0.99\) but optimizer 'sgd' has no use for it.* or choose 'adam' or 'adamw'"),
        ({"epsilon": 1e-6}, "epsilon is 1e-06 but optimizer 'sgd' has no use"),
        ({"step_epochs": 3}, "step_epochs is 3 but schedule 'constant' has no use for it.* or choose 'step'"),
        ({"schedule": "cosine", "step_factor": 0.5}, "step_factor is 0.5 but schedule 'cosine' has no use"),
    ],
)
def test_wrong_recipes_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        Recipe(**change)


def test_defaults_are_never_refused():
    for optimizer in ("sgd", "adam", "adamw"):
        for schedule in ("constant", "step", "cosine"):
            defaults = {field.name: field.default for field in fields(Recipe)}
            assert Recipe(**(defaults | {"optimizer": optimizer, "schedule": schedule})).optimizer == optimizer


@pytest.mark.parametrize(
    ("recipe", "scheduler"),
    [
        (
            Recipe(schedule="step", step_epochs=4, step_factor=0.3, epochs=20),
            lambda o: torch.optim.lr_scheduler.StepLR(o, 4, 0.3),
        ),
        (Recipe(schedule="cosine", epochs=20), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20)),
    ],
)
def test_schedules_are_those_of_torch(recipe, scheduler):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=recipe.learning_rate)
    schedule = scheduler(optimizer)
    for epoch in range(20):
        assert_close(learning_rate(recipe, epoch), optimizer.param_groups[0]["lr"], rtol=1e-12, atol=1e-15)
        optimizer.step()
        schedule.step()


def drawn(recipe, n_samples, seed=0):
    everyone = torch.arange(n_samples)
    return [
        everyone[batch.rows].tolist() for batch in batches(recipe, n_samples, np.random.default_rng(seed), torch.device("cpu"))
    ]


def test_batches_partition_the_data():
    assert drawn(Recipe(), 10) == [list(range(10))]
    sequential = drawn(Recipe(batching="sequential", batch_size=4), 10)
    assert sequential == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    recipe = Recipe(batching="shuffled", batch_size=4)
    shuffled = drawn(recipe, 10)
    assert [len(rows) for rows in shuffled] == [4, 4, 2]
    assert sorted(row for rows in shuffled for row in rows) == list(range(10))
    assert shuffled != sequential
    assert shuffled == drawn(recipe, 10) != drawn(recipe, 10, seed=1)
    assert steps_per_epoch(recipe, 10) == 3


def test_poisson_batches_have_the_expected_size():
    recipe = Recipe(batching="poisson", batch_size=50)
    sizes = [len(rows) for seed in range(20) for rows in drawn(recipe, 1000, seed)]
    assert len(sizes) == 20 * steps_per_epoch(recipe, 1000) == 400
    assert len(set(sizes)) > 10
    assert abs(sum(sizes) / 400 - 50) < 4 * (50 / 400) ** 0.5  # four standard deviations


def test_a_batch_knows_its_members():
    for recipe in (Recipe(batching="sequential", batch_size=4), Recipe(batching="shuffled", batch_size=4)):
        held = [batch.holds(torch.arange(10)) for batch in batches(recipe, 10, np.random.default_rng(0), torch.device("cpu"))]
        assert torch.stack(held).sum(0).tolist() == [1] * 10
