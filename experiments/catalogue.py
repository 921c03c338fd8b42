"""All experiments, the quick ones first. Another one is a file beside this and a name here."""

from __future__ import annotations

from experiments import (
    class_informativeness,
    dataset_size,
    distributions,
    during_training,
    hessian_structures,
    human_labels,
    label_noise,
    learnability,
    other_measures,
    pairs,
    privacy,
    probe_vs_network,
    riemann,
    sam,
    text_corruption,
    times,
    trak,
    transfer,
)
from experiments.base import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    module.EXPERIMENT.name: module.EXPERIMENT
    for module in (
        class_informativeness,
        human_labels,
        text_corruption,
        other_measures,
        trak,
        riemann,
        label_noise,
        dataset_size,
        distributions,
        learnability,
        sam,
        during_training,
        hessian_structures,
        times,
        transfer,
        privacy,
        pairs,
        probe_vs_network,
    )
}
