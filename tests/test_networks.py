"""LSI of the training data of any torch network, from Python."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn
from torch.utils.data import Dataset, TensorDataset

import lapsi
from commands import run
from lapsi.analysis.agreement import compare as agreement_of
from lapsi.errors import InputError
from lapsi.results.run_files import read_array
from lapsi.results.verification import ranking_in_words
from lapsi.training import stacked

N, FEATURES, CLASSES, WEIGHT_DECAY = 40, 5, 3, 0.05
QUIET = {"progress": False}
NO_CHECK = lapsi.Execution(verify=0)
DECAY = lapsi.ObjectiveSpec(weight_decay=WEIGHT_DECAY)


def blobs(seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(CLASSES, size=N)
    return rng.normal(size=(N, FEATURES)) + 1.5 * np.eye(CLASSES, FEATURES)[y], y


def linear_module(X, y, **choices):
    """A linear module at the optimum of the probe on X, y, in float64; and the data that it is trained on."""
    estimator = lapsi.LaplaceSampleInformation(
        weight_decay=WEIGHT_DECAY, standardize="none", verify=0, progress=False, **choices
    ).fit(X, y)
    module = nn.Linear(FEATURES, CLASSES).double()
    with torch.no_grad():
        module.weight.copy_(torch.from_numpy(estimator.coef_))
        module.bias.copy_(torch.from_numpy(estimator.intercept_))
    return module, TensorDataset(torch.from_numpy(X), torch.from_numpy(y))


@pytest.fixture(scope="module")
def trained():
    """A network of 4 tanh units at its optimum, in float64, and its data; one label is wrong."""
    X, y = blobs()
    y[0] = (y[0] + 1) % CLASSES
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(FEATURES, 4), nn.Tanh(), nn.Linear(4, CLASSES)).double()
    data = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    optimizer = torch.optim.LBFGS(
        module.parameters(), max_iter=2000, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss():
        optimizer.zero_grad()
        squared = sum(value.square().sum() for value in module.parameters())
        value = nn.functional.cross_entropy(module(data.tensors[0]), data.tensors[1]) + WEIGHT_DECAY / 2 * squared
        value.backward()
        return value

    optimizer.step(loss)
    return module, data


def test_the_whole_curvature_of_a_linear_module_is_the_closed_form_of_the_probe():
    X, y = blobs()
    module, data = linear_module(X, y)
    expected = lapsi.score(
        X, y, curvature="full", engine=lapsi.Newton(refine=0), weight_decay=WEIGHT_DECAY, standardize="none", verify=0,
        dtype="float64", **QUIET
    )  # fmt: skip
    found = lapsi.score_network(module, data, curvature="full", objective=DECAY, execution=NO_CHECK, **QUIET)
    for name in ("lsi_mean", "lsi_curvature", "leverage", "loo_probability", "loo_loss"):
        assert_allclose(found.table[name], expected.table[name], rtol=1e-8, atol=1e-11, err_msg=name)
    assert found.provenance.plan["unconverged"] < 1e-15
    assert found.provenance.train_accuracy == expected.provenance.train_accuracy


@pytest.mark.parametrize("curvature", ["ekfac", "diag", "kfac", "full"])
def test_what_is_scored_is_compared_with_training_on_without_it(trained, curvature):
    module, data = trained
    before = {name: value.clone() for name, value in module.state_dict().items()}
    scores = lapsi.score_network(
        module, data, curvature=curvature, objective=DECAY, execution=lapsi.Execution(verify=12), **QUIET
    )
    told = scores.provenance.verification
    assert told["reference"] == "trained on"
    assert (told["failure"], told["n_unfinished"]) == ("", 0)
    assert told["spearman"] > 0.7
    assert 0.1 < told["median_ratio"] < 3
    assert scores.lsi[0] > np.median(scores.lsi)
    assert scores.table["suggested_label"].notna()[0]
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


def test_checks_that_run_out_of_passes_are_told(trained, monkeypatch):
    monkeypatch.setattr("lapsi.engines.ekfac.fit.MOST_PASSES", 2)
    scores = lapsi.score_network(*trained, objective=DECAY, execution=lapsi.Execution(verify=3), **QUIET)
    told = scores.provenance.verification
    assert told["n_unfinished"] == 3
    assert "3 of them did not come to an optimum" in ranking_in_words(told)


@pytest.mark.slow
@pytest.mark.parametrize("curvature", ["diag", "ekfac"])
def test_of_very_many_classes_nothing_is_left_out(monkeypatch, tmp_path, curvature):
    """Of flat predictions of 100 classes, of which no 64 hold enough of the curvature."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(FEATURES, 3), nn.Tanh(), nn.Linear(3, 100)).double()
    data = TensorDataset(torch.from_numpy(blobs()[0]), torch.arange(N) % 100)

    def score(**choices):
        step = lapsi.Ekfac(refine=0)
        choices = {"execution": NO_CHECK, "engine": step, "curvature": curvature, **choices}
        return lapsi.score_network(module, data, objective=DECAY, **choices, **QUIET)

    exact, whole = score(), score(curvature="full")
    assert "lsi_draw_error" not in exact.table
    monkeypatch.setattr("lapsi.problem.of_module.CHEAP_FLOP", 0)
    many, few = score(draws=50), score(execution=lapsi.Execution(verify=2))
    for name in ("lsi_mean", "lsi_curvature"):
        assert_allclose(many.table[name], exact.table[name], rtol=0.25, err_msg=name)
        assert 0.95 < np.median(many.table[name] / exact.table[name]) < 1.05
        assert_allclose(few.table[name], exact.table[name], rtol=0.5, err_msg=name)
    assert many.table["lsi_draw_error"].median() < few.table["lsi_draw_error"].median() < 0.2
    assert_allclose(score(curvature="full").lsi, whole.lsi, rtol=1e-9)
    assert 0.7 < few.provenance.plan["drawn_median"] <= few.provenance.plan["drawn_most"] <= 1
    few.save(tmp_path / "run")
    shown = " ".join(run("show", str(tmp_path / "run")).stdout.split())
    assert "of what bends the loss of a sample is made of drawn signs" in shown
    assert "standard error of LSI from what is drawn" in shown


def test_scores_do_not_depend_on_batches_or_on_which_are_asked_for(trained):
    module, data = trained
    whole = lapsi.score_network(module, data, objective=DECAY, execution=NO_CHECK, pass_size=7, **QUIET)
    some = lapsi.score_network(module, data, objective=DECAY, execution=NO_CHECK, indices=[31, 4], **QUIET)
    assert_allclose(some.lsi, whole.lsi[[31, 4]], rtol=1e-9)
    assert some.table["id"].tolist() == [31, 4]


def test_a_sample_of_weight_two_says_as_much_as_two_equal_samples(trained):
    module, data = trained
    X, y = data.tensors
    doubled = TensorDataset(torch.cat([X, X[:1]]), torch.cat([y, y[:1]]))
    weights = np.ones(N)
    weights[0] = 2.0
    expected = lapsi.score_network(module, doubled, objective=DECAY, execution=NO_CHECK, **QUIET)
    found = lapsi.score_network(module, data, objective=DECAY, execution=NO_CHECK, sample_weight=weights, **QUIET)
    assert_allclose(found.lsi[1:], expected.lsi[1:N], rtol=1e-8)


def test_the_weight_decay_is_that_of_the_largest_evidence(trained):
    module, data = trained
    scores = lapsi.score_network(module, data, curvature="full", execution=NO_CHECK, **QUIET)
    chosen = scores.provenance.settings["objective"]["weight_decay"]
    params = torch.cat([value.flatten() for value in module.parameters()]).detach()
    outputs = module(data.tensors[0])
    jacobian = []
    for row in outputs:
        grads = [torch.autograd.grad(each, list(module.parameters()), retain_graph=True) for each in row]
        jacobian.append(torch.stack([torch.cat([part.flatten() for part in grad]) for grad in grads]))
    p = outputs.softmax(-1).detach()
    hessian = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    ggn = torch.einsum("nap,nab,nbq->pq", torch.stack(jacobian), hessian, torch.stack(jacobian))

    def evidence(decay):
        prior = N * decay
        whole = torch.linalg.slogdet(ggn + prior * torch.eye(len(ggn), dtype=ggn.dtype))[1]
        return float(0.5 * (len(params) * np.log(prior) - whole - prior * params.square().sum()))

    near = [evidence(chosen * factor) for factor in (0.9, 1.0, 1.1)]
    assert near[1] > near[0]
    assert near[1] > near[2]


class Named(Dataset):
    """As data sets of Hugging Face are: mappings with the target beside the arguments of the module."""

    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, position):
        return {"values": self.X[position], "labels": self.y[position]}


class Takes(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, values):
        return {"logits": self.inner(values)}


def test_samples_may_be_mappings_and_outputs_logits(trained):
    module, data = trained
    expected = lapsi.score_network(module, data, objective=DECAY, execution=NO_CHECK, **QUIET)
    found = lapsi.score_network(Takes(module), Named(*data.tensors), objective=DECAY, execution=NO_CHECK, **QUIET)
    assert_allclose(found.lsi, expected.lsi, rtol=1e-9)


@pytest.mark.parametrize("loss", ["bce", "mse", nn.BCEWithLogitsLoss(), nn.MSELoss()])
def test_other_losses_have_their_own_evidence(loss):
    X, _ = blobs()
    rng = np.random.default_rng(1)
    name = loss if isinstance(loss, str) else {"BCEWithLogitsLoss": "bce", "MSELoss": "mse"}[type(loss).__name__]
    targets = (rng.random((N, 2)) < 0.5).astype(float) if name == "bce" else X @ rng.normal(size=(FEATURES, 2))
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(FEATURES, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    data = TensorDataset(torch.from_numpy(X), torch.from_numpy(targets))
    scores = lapsi.score_network(module, data, loss=loss, objective=DECAY, execution=NO_CHECK, **QUIET)
    assert scores.task == {"bce": "multilabel", "mse": "regression"}[name]
    assert bool((scores.lsi > 0).all())
    if name == "mse":
        noise = scores.provenance.settings["objective"]["noise_variance"]
        assert_allclose(noise, [float((module(data.tensors[0]) - data.tensors[1]).square().mean())] * 2, rtol=1e-9)


@pytest.mark.parametrize("loss", [nn.BCEWithLogitsLoss(), nn.MSELoss()])
def test_the_weight_decay_of_a_mean_over_outputs_is_told_times_their_number(loss):
    X, y = blobs()
    inputs, wanted = torch.from_numpy(X), nn.functional.one_hot(torch.from_numpy(y), CLASSES).double()
    torch.manual_seed(0)
    module = nn.Linear(FEATURES, CLASSES).double()
    optimizer = torch.optim.LBFGS(
        module.parameters(), max_iter=2000, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        optimizer.zero_grad()
        squared = sum(value.square().sum() for value in module.parameters())
        value = loss(module(inputs), wanted) + WEIGHT_DECAY / 2 * squared
        value.backward()
        return value

    optimizer.step(closure)

    def scored(decay):
        objective = lapsi.ObjectiveSpec(weight_decay=decay)
        data = TensorDataset(inputs, wanted)
        return lapsi.score_network(module, data, loss=loss, objective=objective, execution=NO_CHECK, **QUIET).provenance

    plain = scored(WEIGHT_DECAY)
    times = CLASSES
    if isinstance(loss, nn.MSELoss):
        noise = plain.settings["objective"]["noise_variance"]
        assert noise[0] == noise[1] == noise[2] > 0
        times = CLASSES / (2 * noise[0])
    assert scored(times * WEIGHT_DECAY).plan["unconverged"] < 1e-9
    assert plain.plan["unconverged"] > 1e-3


def test_runs_are_saved_shown_compared_and_drawn_as_others(trained, tmp_path):
    module, data = trained
    scores = lapsi.score_network(module, data, params="last_layer", objective=DECAY, classes=list("abc"), **QUIET)
    loaded = lapsi.Scores.load(scores.save(tmp_path / "run"))
    assert loaded.table.equals(scores.table)
    for name in ("features", "map", "neighbours"):
        assert_array_equal(getattr(loaded, name), getattr(scores, name))
    assert loaded.classes.tolist() == ["a", "b", "c"]
    assert loaded.provenance.settings["network"] == {
        "module": "Sequential",
        "params": ["last_layer"],
        "loss": "cross_entropy",
        "tokens": "sum",
        "draws": 4,
    }
    probe = lapsi.score(data.tensors[0].numpy(), data.tensors[1].numpy(), verify=0, weight_decay=WEIGHT_DECAY, **QUIET)
    assert agreement_of(scores, probe).spearman > 0.5


def test_samples_lie_by_what_goes_into_the_last_layer(trained, tmp_path):
    module, data = trained
    ids = [f"s{row}" for row in range(N)]
    how = {"objective": DECAY, "execution": NO_CHECK, "ids": ids, **QUIET}
    scores = lapsi.score_network(module, data, **how)
    hidden = module[:2](data.tensors[0]).detach().numpy()
    assert_allclose(scores.features, hidden, rtol=1e-6, atol=1e-7)
    centred = hidden - hidden.mean(0)
    left, size, _ = np.linalg.svd(centred, full_matrices=False)
    assert_allclose(np.abs(scores.map), np.abs(left[:, :2] * size[:2]), rtol=1e-4, atol=1e-4)
    distances = np.linalg.norm(hidden[:, None] - hidden, axis=2) + np.diag(np.full(N, np.inf))
    assert_array_equal(scores.neighbours[:, 0], distances.argmin(1))
    few = lapsi.score_network(module, data, indices=[31, 4, 7], **how)
    assert_array_equal(np.sort(few.neighbours[:, :2], axis=1), [[4, 7], [7, 31], [4, 31]])
    assert (few.neighbours[:, 2:] == -1).all()
    picked = scores.from_pandas(scores.to_pandas().iloc[[31, 4]])
    assert_array_equal(picked.features, scores.features[[31, 4]])
    page = scores.report(tmp_path / "run.html").read_text()
    assert 'id="map"' in page
    assert "the 4 numbers that go into the last linear layer of the network" in page


@pytest.mark.parametrize("array", [np.zeros(N), np.zeros((N - 1, 4)), np.zeros((N, 4), int), np.full((N, 4), np.nan)])
def test_features_that_are_not_those_of_the_run_are_refused(tmp_path, array):
    np.save(tmp_path / "features.npy", array)
    with pytest.raises(ValueError, match=r"features.npy holds .*(floating-point numbers of shape \(40, any\)|not finite)"):
        read_array(tmp_path / "features.npy", (N, None))


def test_a_killed_run_goes_on(trained, tmp_path):
    module, data = trained
    how = {"objective": DECAY, "execution": NO_CHECK, "checkpoint": tmp_path / "kept", **QUIET}
    first = lapsi.score_network(module, data, **how)
    again = lapsi.score_network(module, data, **how)
    assert again.table.equals(first.table)
    with pytest.raises(InputError, match="begun with other data .*weight_decay was 0.05, now 0.1"):
        lapsi.score_network(module, data, **how | {"objective": lapsi.ObjectiveSpec(weight_decay=0.1)})


def test_parts_of_other_weights_or_data_are_refused_before_the_work(trained, tmp_path, monkeypatch):
    module, data = trained
    recipe = lapsi.Retrain(lapsi.Recipe(optimizer="sgd", learning_rate=0.1, epochs=1, seeds=1))
    how = {"engine": recipe, "objective": DECAY, "execution": NO_CHECK, "checkpoint": tmp_path / "parts", **QUIET}
    lapsi.score_network(module, data, **how)
    monkeypatch.setattr(lapsi.networks, "_fit", lambda *_: pytest.fail("it trained"))
    moved = copy.deepcopy(module)
    with torch.no_grad():
        moved[0].weight += 0.1
    with pytest.raises(
        InputError, match="begun with other data or settings: the module has other weights; what the module makes"
    ):
        lapsi.score_network(moved, data, **how)
    with pytest.raises(InputError, match="begun with other data or settings: what the module makes of the data, their targets"):
        lapsi.score_network(module, data, sample_weight=np.linspace(1, 2, N), **how)
    with pytest.raises(InputError, match="begun with other data or settings: what the module makes of the data, their targets"):
        lapsi.score_network(module, data, ids=[f"s{row}" for row in range(N)], **how)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "hinge"}, "loss is 'hinge'; expected"),
        ({"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}, "smooths its labels"),
        ({"loss": nn.CrossEntropyLoss(reduction="sum")}, "has reduction 'sum'; expected 'mean'"),
        (
            {"objective": lapsi.ObjectiveSpec(class_weight="balanced")},
            "class_weight is 'balanced', which the loss of a network",
        ),
        ({"loss": nn.L1Loss()}, "loss is a L1Loss; expected 'auto', 'cross_entropy'"),
        ({"engine": "newton"}, "engine is 'newton'; expected 'ekfac'"),
        ({"params": ["head"]}, "names the module 'head'"),
        ({"curvature": "whole"}, "curvature is 'whole'"),
        ({"classes": ["a"]}, "classes has 1 names, but the module gives 3 outputs"),
        ({"classes": ["a", "b", "a"]}, "classes has a name twice"),
        ({"classes": ["a", 1, None]}, "classes holds other names than strings, or integers"),
        ({"loss": nn.CrossEntropyLoss(ignore_index=2)}, "The loss ignores targets 2"),
        ({"loss": nn.BCEWithLogitsLoss(pos_weight=torch.ones(3))}, "has a pos_weight"),
        ({"columns": {"lsi": np.arange(N)}}, "A column of the samples is named 'lsi'"),
        ({"classes": 3}, "classes is 3; expected a list with a name for each of the 3 outputs"),
        ({"classes": "abc"}, "classes is 'abc'; expected a list"),
        ({"params": 0}, "params is 0; expected 'all', 'last_layer', or a list of names"),
        ({"params": []}, r"params is \[\]; expected"),
        ({"divergence": "js"}, "divergence is 'js'; expected 'kl' or 'renyi'"),
        ({"divergence": "renyi", "order": "x"}, "order is 'x'; expected a number above 0"),
        ({"execution": lapsi.Execution(device="tpu9")}, "device 'tpu9' cannot be used"),
        ({"pass_size": 0}, "pass_size is 0; expected a whole number from 1"),
        ({"indices": [N]}, "expected positions from 0 to 39"),
        ({"loss": "bce"}, r"targets have shape \(40,\); expected \(N, 3\)"),
        ({"execution": lapsi.Execution(device="cuda")}, "device is 'cuda', but the module is on cpu"),
        ({"execution": lapsi.Execution(dtype="float32")}, "dtype is 'float32', but the module is in torch.float64"),
        ({"objective": lapsi.ObjectiveSpec(weight_decay=0.0, prior_precision=1.0)}, "weight_decay is 0"),
    ],
)
def test_what_cannot_be_used_is_told(trained, change, message):
    module, data = trained
    with pytest.raises(InputError, match=message):
        lapsi.score_network(module, data, **{"execution": NO_CHECK, **QUIET, **change})


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda module: nn.Sequential(nn.LazyLinear(4), nn.Linear(4, CLASSES)), "The parameter '0.weight' has no values yet"),
        (lambda module: torch.jit.trace(module, torch.zeros(1, FEATURES).double()), "whose layers cannot be watched"),
    ],
)
def test_modules_that_cannot_be_read_are_told(trained, made, message):
    with pytest.raises(InputError, match=message):
        lapsi.score_network(made(trained[0]), trained[1], execution=NO_CHECK, **QUIET)


def test_classes_stand_in_the_order_of_the_outputs(trained, tmp_path):
    module, data = trained
    how = {"objective": DECAY, "execution": NO_CHECK, **QUIET}
    plain = lapsi.score_network(module, data, **how)
    named = lapsi.score_network(module, data, classes=["cat", "dog", "cow"], **how)
    loaded = lapsi.load_run(named.save(tmp_path / "run"))
    names = np.array(["cat", "dog", "cow"])
    assert_array_equal(loaded.table["label"], names[plain.table["label"].to_numpy(int)])
    assert_array_equal(loaded.label_codes, plain.label_codes)
    sizes = [(name, len(rows)) for name, rows in loaded.evidence.parts(loaded.table, loaded.outputs)]
    assert sizes == list(zip(names.tolist(), np.bincount(plain.label_codes, minlength=3).tolist(), strict=True))


class Random(nn.Module):
    """Draws in evaluation too."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        return self.module(nn.functional.dropout(x, 0.5))


class Centred(Random):
    """Of a batch as a whole."""

    def forward(self, x):
        return self.module(x - x.mean(0))


@pytest.mark.parametrize(("made", "message"), [(Random, "draws at random in"), (Centred, "depends on the others in its batch")])
def test_a_module_is_a_function_of_each_sample(trained, made, message):
    module, data = trained
    with pytest.raises(InputError, match=message):
        lapsi.score_network(made(module), data, objective=DECAY, execution=NO_CHECK, **QUIET)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_are_there_whoever_turned_them_off(trained, mode):
    module, data = trained
    how = {"objective": DECAY, "execution": NO_CHECK, **QUIET}
    with mode():
        found = lapsi.score_network(module, data, **how)
    assert_array_equal(found.lsi, lapsi.score_network(module, data, **how).lsi)


def test_inputs_beyond_all_bounds_are_told(trained):
    module, data = trained
    inputs, labels = data.tensors
    far = inputs.clone()
    far[3, 0] = torch.inf
    with pytest.raises(InputError, match="curvature of a layer is not finite"):
        lapsi.score_network(module, TensorDataset(far, labels), objective=DECAY, execution=NO_CHECK, **QUIET)


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (iter([]), "expected one with a length and an item by its position"),
        (TensorDataset(torch.zeros(1, FEATURES), torch.zeros(1)), "has 1 sample; expected at least 2"),
        (TensorDataset(torch.zeros(4, FEATURES)), "A batch is a list; expected"),
        ([{"values": torch.zeros(FEATURES)}] * 4, "A sample holds values; expected its target under one of"),
        (TensorDataset(torch.zeros(4, FEATURES).double(), torch.tensor([0, 1, 2, 3])), "from 0 to 3; expected"),
    ],
)
def test_data_that_cannot_be_read_are_told(trained, dataset, message):
    with pytest.raises(InputError, match=message):
        lapsi.score_network(trained[0], dataset, execution=NO_CHECK, **QUIET)


class Augmented(Dataset):
    """Flips an input now and then."""

    def __init__(self, data, *, share):
        self.data, self.share, self.rng = data, share, np.random.default_rng(0)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, row):
        values, label = self.data[row]
        return (-values if self.rng.random() < self.share else values), label


def test_random_augmentations_are_refused(trained):
    module, data = trained
    with pytest.raises(InputError, match="is another one when it is read again, as random augmentations make it"):
        lapsi.score_network(module, Augmented(data, share=0.5), execution=NO_CHECK, **QUIET)

    def masked(items):
        values, labels = torch.utils.data.default_collate(items)
        return values * (torch.rand(values.shape) < 0.5), labels

    with pytest.raises(InputError, match=r"Sample \d+ of the data set is another one"):
        lapsi.score_network(module, data, collate=masked, execution=NO_CHECK, **QUIET)
    fixed = lapsi.score_network(module, Augmented(data, share=0.0), objective=DECAY, execution=NO_CHECK, **QUIET)
    assert np.isfinite(fixed.lsi).all()


def test_refined_steps_are_those_of_the_whole_curvature(trained):
    module, data = trained
    how = {"objective": DECAY, "execution": NO_CHECK, **QUIET}
    plain = lapsi.score_network(module, data, engine=lapsi.Ekfac(refine=0), **how)
    some = lapsi.score_network(module, data, engine=lapsi.Ekfac(refine=5, tolerance=1e-8), **how)
    refined = some.table["refinement"].str.startswith("refined").to_numpy()
    assert refined.sum() == 5
    assert_allclose(some.lsi[~refined], plain.lsi[~refined], rtol=1e-12)
    highest = np.argsort(-plain.lsi)[:5]
    assert refined[highest].all()
    whole = lapsi.score_network(module, data, curvature="full", **how)
    assert_allclose(some.table["shift_norm"][refined], whole.table["shift_norm"][refined], rtol=3e-3)
    assert_allclose(some.table["loo_loss"][refined], whole.table["loo_loss"][refined], rtol=3e-3)
    assert np.abs(plain.table["shift_norm"][refined] / whole.table["shift_norm"][refined] - 1).max() > 0.05


def test_all_of_small_data_are_refined(trained):
    module, data = trained
    scores = lapsi.score_network(module, data, objective=DECAY, execution=NO_CHECK, **QUIET)
    assert scores.table["refinement"].str.startswith("refined").all()


def test_retraining_is_the_definition_and_the_checked_models_are_trained_alone(trained, tmp_path):
    module, data = trained
    recipe = lapsi.Recipe(optimizer="adam", learning_rate=0.02, epochs=30, seeds=1)
    how = {"objective": DECAY, "curvature": "diag", **QUIET}
    engine = lapsi.Retrain(recipe, every=15)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    scores = lapsi.score_network(module, data, engine=engine, execution=lapsi.Execution(verify=2), **how)
    told = scores.provenance.verification
    assert told["reference"] == "trained alone"
    assert told["max_relative_error"] < 1e-6
    floor = scores.provenance.plan["noise_floor"]
    assert floor.keys() == {"rounding"}
    assert 0 < floor["rounding"] < 1e-12 < scores.lsi.min()
    assert set(scores.table["refinement"]) == {"trained"}
    assert len(scores.trajectory) == 2 * N
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    loaded = lapsi.Scores.load(scores.save(tmp_path / "run"))
    assert loaded.provenance.settings["engine"]["recipe"]["epochs"] == 30


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"batching": "shuffled", "batch_size": 16, "optimizer": "adam", "sam_radius": 0.05},
        {"batching": "poisson", "batch_size": 10, "clip_norm": 0.4, "noise_multiplier": 0.5},
    ],
)
def test_a_linear_module_trained_from_nothing_is_the_retrained_probe(choices):
    X, y = blobs()
    recipe = lapsi.Recipe(learning_rate=0.1, epochs=40, seeds=1, **choices)
    probe = {"weight_decay": WEIGHT_DECAY, "standardize": "none", "verify": 0, "dtype": "float64", **QUIET}
    expected = lapsi.score(X, y, engine=lapsi.Retrain(recipe), indices=range(6), **probe)
    torch.manual_seed(0)
    module = nn.Linear(FEATURES, CLASSES)
    initial = lapsi_initial(module)
    found = lapsi.score_network(
        initial, TensorDataset(torch.from_numpy(X), torch.from_numpy(y)), engine=lapsi.Retrain(recipe), curvature="diag",
        objective=DECAY, execution=NO_CHECK, indices=range(6), **QUIET,
    )  # fmt: skip
    for name in ("lsi_mean", "lsi_curvature", "loo_loss", "shift_norm"):
        assert_allclose(found.table[name], expected.table[name], rtol=1e-6, err_msg=name)


def lapsi_initial(module):
    """The module in float64 with the initial weights that the probe has under seed 0."""
    from lapsi.models.activation import ACTIVATIONS
    from lapsi.models.mlp import Mlp

    weights = Mlp((FEATURES + 1, CLASSES), ACTIVATIONS["relu"]).initial(0).view(CLASSES, FEATURES + 1)
    module = module.double()
    with torch.no_grad():
        module.weight.copy_(weights[:, :-1])
        module.bias.copy_(weights[:, -1])
    return module


@pytest.mark.parametrize(
    ("module", "recipe", "message"),
    [
        (nn.Sequential(nn.Linear(FEATURES, 3), nn.BatchNorm1d(3)), lapsi.Recipe(epochs=2), "'1' is a BatchNorm1d.* GroupNorm"),
        (nn.Linear(FEATURES, 3).bfloat16(), lapsi.Recipe(epochs=2), "in torch.bfloat16"),
    ],
)
def test_what_cannot_be_retrained_is_told(trained, module, recipe, message):
    data = TensorDataset(trained[1].tensors[0].float(), trained[1].tensors[1])
    with pytest.raises(InputError, match=message):
        lapsi.score_network(module, data, engine=lapsi.Retrain(recipe), **QUIET)


def test_a_sample_for_which_the_module_gives_no_number_is_named(trained):
    module, data = trained
    inputs = data.tensors[0].clone()
    inputs[33, 2] = torch.nan
    with pytest.raises(InputError, match="not finite, first for the sample in row 33"):
        lapsi.score_network(module, TensorDataset(inputs, data.tensors[1]), execution=NO_CHECK, pass_size=8, **QUIET)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "resnet"])
def test_classifiers_of_transformers_and_data_sets_of_hugging_face_need_no_wrapper(kind):
    datasets, hf = pytest.importorskip("datasets"), pytest.importorskip("transformers")
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    labels = torch.randint(0, CLASSES, (10,), generator=generator)
    if kind == "resnet":
        config = hf.ResNetConfig(
            embedding_size=4, hidden_sizes=[4, 4], depths=[1, 1], layer_type="basic", num_labels=CLASSES, hidden_act="tanh"
        )
        model = hf.ResNetForImageClassification(config)
        held = {"pixel_values": torch.randn(10, 3, 16, 16, generator=generator).tolist(), "label": labels.tolist()}
    else:
        words = torch.randint(1, 30, (10, 5), generator=generator)
        held = {"input_ids": words.tolist(), "attention_mask": torch.ones(10, 5).long().tolist(), "label": labels.tolist()}
        if kind == "bert":
            config = hf.BertConfig(
                vocab_size=30, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
                max_position_embeddings=8, num_labels=CLASSES,
            )  # fmt: skip
            model = hf.BertForSequenceClassification(config)
        else:
            config = hf.GPT2Config(
                vocab_size=30, n_embd=8, n_layer=1, n_head=2, n_positions=8, num_labels=CLASSES, pad_token_id=0, bos_token_id=1,
                eos_token_id=1,
            )  # fmt: skip
            model = hf.GPT2ForSequenceClassification(config)
    data = datasets.Dataset.from_dict(held).with_format("torch")
    alone = lapsi.score_network(model, data, objective=DECAY, execution=NO_CHECK, pass_size=1, indices=[3, 7], **QUIET)
    scores = lapsi.score_network(model, data, objective=DECAY, execution=NO_CHECK, pass_size=4, **QUIET)
    assert_allclose(scores.lsi[[3, 7]], alone.lsi, rtol=2e-3)
    assert scores.provenance.plan["n_params"] == sum(value.numel() for value in model.parameters())


@pytest.mark.parametrize("clip_norm", [None, 1.0])
def test_poisson_batches_may_be_empty(trained, clip_norm):
    module, data = trained
    recipe = lapsi.Recipe(batching="poisson", batch_size=1, clip_norm=clip_norm, learning_rate=0.01, epochs=3, seeds=1)
    few = torch.utils.data.Subset(data, range(6))
    scores = lapsi.score_network(module, few, engine=lapsi.Retrain(recipe), curvature="diag", execution=NO_CHECK, **QUIET)
    assert np.isfinite(scores.lsi).all()


def test_gradients_are_summed_over_as_many_samples_as_memory_holds(trained, monkeypatch):
    module, data = trained
    recipe = lapsi.Retrain(lapsi.Recipe(learning_rate=0.1, epochs=5, seeds=1))
    how = {"engine": recipe, "objective": DECAY, "curvature": "diag", "execution": NO_CHECK, **QUIET}
    whole = lapsi.score_network(module, data, **how)
    monkeypatch.setattr(stacked, "STEP_BYTES", 1)
    assert_allclose(lapsi.score_network(module, data, **how).lsi, whole.lsi, rtol=1e-9)


class Gated(nn.Module):
    """Decides by its input what it does, as masks do."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Linear(FEATURES, CLASSES)

    def forward(self, x):
        return self.body(x) if bool((x > -9).all()) else self.body(x.abs())


def test_single_gradients_are_clipped_of_modules_that_decide_by_their_input():
    X, y = blobs()
    recipe = lapsi.Retrain(lapsi.Recipe(learning_rate=0.1, epochs=2, clip_norm=0.5, seeds=1))
    how = {"engine": recipe, "objective": DECAY, "curvature": "diag", "execution": NO_CHECK, "indices": [0, 7], **QUIET}
    data = TensorDataset(torch.from_numpy(X).float(), torch.from_numpy(y))
    module = Gated()
    assert_allclose(lapsi.score_network(module, data, **how).lsi, lapsi.score_network(module.body, data, **how).lsi, rtol=1e-5)


def test_seeds_that_would_all_be_the_same_are_one(trained):
    module, data = trained
    recipe = lapsi.Retrain(lapsi.Recipe(learning_rate=0.1, epochs=2, seeds=3))
    scores = lapsi.score_network(module, data, engine=recipe, curvature="diag", execution=NO_CHECK, **QUIET)
    assert scores.provenance.settings["engine"]["recipe"]["seeds"] == 1


def test_a_large_vocabulary_costs_what_its_gradients_take():
    module = nn.Sequential(nn.Embedding(30_000, 4), nn.Flatten(), nn.Linear(12, CLASSES))
    data = TensorDataset(torch.randint(30_000, (8, 3)), torch.arange(8) % CLASSES)
    execution = lapsi.Execution(verify=0, memory_limit=2 * 2**30)
    assert len(lapsi.score_network(module, data, objective=DECAY, execution=execution, **QUIET)) == 8


def test_log_probabilities_are_scored_as_the_outputs_before(trained):
    module, data = trained
    how = {"objective": DECAY, "execution": NO_CHECK, **QUIET}
    told = lapsi.score_network(nn.Sequential(*module, nn.LogSoftmax(1)), data, loss=nn.NLLLoss(), **how)
    assert_allclose(told.lsi, lapsi.score_network(module, data, **how).lsi, rtol=1e-6)


def test_other_batches_are_part_of_the_noise_floor(trained):
    module, data = trained
    recipe = lapsi.Recipe(learning_rate=0.1, epochs=20, seeds=1, batching="shuffled", batch_size=8)
    how = {"engine": lapsi.Retrain(recipe), "curvature": "diag", "objective": DECAY, "execution": NO_CHECK, **QUIET}
    scores = lapsi.score_network(module, data, **how)
    floor = scores.provenance.plan["noise_floor"]
    other = lapsi.score_network(module, data, **{**how, "execution": lapsi.Execution(verify=0, seed=recipe.seeds)})
    assert floor["rounding"] < 1e-20 < floor["order"]
    assert floor["order"] < other.provenance.plan["noise_floor"]["order"] * 100


def test_checked_samples_are_trained_on_by_a_recipe_where_one_is_given(trained):
    """Many small steps of the whole batch come to the optimum of L-BFGS."""
    module, data = trained
    how = {"objective": DECAY, "curvature": "diag", "execution": lapsi.Execution(verify=4), "indices": range(8), **QUIET}
    recipe = lapsi.Recipe(learning_rate=0.5, epochs=400, seeds=1)
    to_optimum = lapsi.score_network(module, data, engine=lapsi.Ekfac(refine=0), **how).provenance.verification
    by_recipe = lapsi.score_network(module, data, engine=lapsi.Ekfac(refine=0, recipe=recipe), **how).provenance.verification
    for name in ("spearman", "pearson", "median_ratio", "max_relative_error"):
        assert by_recipe[name] == pytest.approx(to_optimum[name], rel=0.02), name
    short = lapsi.Ekfac(refine=0, recipe=lapsi.Recipe(learning_rate=0.01, epochs=3, seeds=1))
    assert lapsi.score_network(module, data, engine=short, **how).provenance.verification["median_ratio"] > 10


def test_samples_that_a_module_does_not_take_are_one_line():
    data = TensorDataset(torch.randn(20, 4), torch.arange(20) % 3)
    message = r"does not take sample 0 of the data set .\(1, 4\) float32.: mat1 and mat2 shapes cannot be multiplied .*\.$"
    with pytest.raises(lapsi.InputError, match=message):
        lapsi.score_network(nn.Linear(5, 3), data, objective=DECAY, **QUIET)


def test_the_cost_is_told_and_what_does_not_fit_is_refused(trained, capsys):
    module, data = trained
    lapsi.score_network(module, data, objective=DECAY, execution=lapsi.Execution(verify=2))
    assert "GiB at the peak" in capsys.readouterr().err
    little = lapsi.Execution(verify=0, memory_limit=2**28)
    with pytest.raises(lapsi.MemoryLimitError, match="limit is 0.2 GiB.*last_layer"):
        lapsi.score_network(module, data, objective=DECAY, execution=little, **QUIET)


@pytest.mark.slow
@pytest.mark.parametrize("curvature", ["diag", "kfac", "ekfac", "full"])
def test_renyi_divergences_of_a_network(trained, curvature):
    given = {"curvature": curvature, "objective": DECAY, "execution": NO_CHECK, **QUIET}
    kl, *others = (
        lapsi.score_network(*trained, divergence=kind, order=order, **given)
        for kind, order in (("kl", None), ("renyi", 1.0), ("renyi", 1 + 1e-10), ("renyi", 4.0))
    )
    one, near, fourth = (scores.lsi for scores in others)
    assert_allclose(one, kl.lsi, rtol=0)
    assert_allclose(near, kl.lsi, rtol=1e-8)
    assert (fourth > kl.lsi).all()
    assert others[-1].provenance.settings["order"] == 4.0
    (told,) = (column for column in others[-1].columns if column.name == "lsi")
    assert told.help.startswith("Rényi divergence of order 4, D(with ‖ without)")
