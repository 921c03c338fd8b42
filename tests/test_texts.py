"""LSI of texts: a class for each token, in language models and taggers."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

import lapsi
from commands import run
from lapsi.analysis.label_issues import label_issues
from lapsi.engines.ekfac.fit import EkfacFit
from lapsi.errors import InputError
from lapsi.results.scores import Scores

N, WORDS, SIZE, LONGEST, WEIGHT_DECAY = 24, 7, 3, 9, 0.02
QUIET = {"progress": False}
NO_CHECK = lapsi.Execution(verify=0)
DECAY = lapsi.ObjectiveSpec(weight_decay=WEIGHT_DECAY)


class Guesser(nn.Module):
    """Guesses the next word from the last one."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(WORDS, SIZE).requires_grad_(False)
        self.head = nn.Linear(SIZE, WORDS)

    def forward(self, input_ids, attention_mask=None):
        return self.head(torch.tanh(self.words(input_ids)))


def texts(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(WORDS, size=rng.integers(3, LONGEST)).tolist() for _ in range(N)]


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    module, words = Guesser().double(), texts()
    optimizer = torch.optim.LBFGS(
        module.head.parameters(), max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss():
        optimizer.zero_grad()
        value = sum(text_loss(module, parameters_of(module), text) for text in words) / N
        value = value + WEIGHT_DECAY / 2 * parameters_of(module).square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return module, [{"input_ids": text} for text in words]


def parameters_of(module):
    return torch.cat([module.head.weight, module.head.bias[:, None]], 1).flatten()


def outputs_of(module, flat, text):
    hidden = torch.tanh(module.words(torch.tensor(text[:-1])))
    matrix = flat.view(WORDS, SIZE + 1)
    return hidden @ matrix[:, :-1].T + matrix[:, -1]


def text_loss(module, flat, text):
    return nn.functional.cross_entropy(outputs_of(module, flat, text), torch.tensor(text[1:]), reduction="sum")


def score(module, data, **choices):
    return lapsi.score_network(
        module, data, **{"loss": "next_token", "objective": DECAY, "execution": NO_CHECK, **QUIET, **choices}
    )


def test_refined_steps_are_those_of_the_whole_curvature_over_tokens(trained):
    """The shift without each text, from the dense GGN of all tokens of the others, by autograd."""
    module, data = trained
    scores = score(module, data, engine=lapsi.Ekfac(refine="all", tolerance=1e-11))
    flat = parameters_of(module).detach()
    ggn, gradient = [], []
    for item in data:
        text = item["input_ids"]
        jacobian = torch.func.jacrev(lambda value, text=text: outputs_of(module, value, text))(flat)
        p = torch.softmax(outputs_of(module, flat, text), 1).detach()
        hessian = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        ggn.append(torch.einsum("tap,tab,tbq->pq", jacobian, hessian, jacobian))
        gradient.append(torch.func.grad(lambda value, text=text: text_loss(module, value, text))(flat))
    left = WEIGHT_DECAY * (N - 1) * torch.eye(len(flat), dtype=torch.float64)
    whole = sum(ggn)
    for row, (own, pull) in enumerate(zip(ggn, gradient, strict=True)):
        shift = torch.linalg.solve(whole - own + left, pull + WEIGHT_DECAY * flat)
        assert_allclose(scores.table["shift_norm"][row], float(shift.norm()), rtol=1e-9)
        text, after = data[row]["input_ids"], scores.table["loo_loss"][row]
        before = (text_loss(module, flat, text) / (len(text) - 1)).item()
        moved = outputs_of(module, flat + shift, text).detach()
        wanted = nn.functional.cross_entropy(moved, torch.tensor(text[1:])).item()
        assert_allclose(after, wanted, rtol=1e-9)
        assert_allclose(scores.table["memorised"][row], wanted - before, rtol=1e-6, atol=1e-12)
    assert scores.table["label"].tolist() == [len(item["input_ids"]) - 1 for item in data]


def test_many_draws_come_to_the_exact_curvature(trained):
    """A guesser whose texts have one token that counts is a classifier, of which the roots are exact."""
    module, _ = trained
    rng = np.random.default_rng(1)
    pairs = rng.integers(WORDS, size=(N, 2))
    few = score(
        module, [{"input_ids": pair.tolist()} for pair in pairs], curvature="diag", draws=400, engine=lapsi.Ekfac(refine=0)
    )

    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, word):
            return self.inner(word[:, None])[:, 0]

    exact = lapsi.score_network(
        One(), torch.utils.data.TensorDataset(*torch.from_numpy(pairs).T), curvature="diag", objective=DECAY,
        execution=NO_CHECK, engine=lapsi.Ekfac(refine=0), **QUIET
    )  # fmt: skip
    assert_allclose(few.lsi, exact.lsi, rtol=0.15)  # 400 draws of 24 samples: 0.11; 4,000: below 0.1
    assert few.table["lsi_draw_error"].max() < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("draws", [2, 5])
def test_few_draws_do_not_make_the_change_of_the_width_too_large(trained, draws):
    """On average over seeds, against the squares of the dense curvature of all tokens, by autograd."""
    module, data = trained
    flat = parameters_of(module).detach()
    own = []
    for item in data:
        jacobian = torch.func.jacrev(lambda value, text=item["input_ids"]: outputs_of(module, value, text))(flat)
        p = torch.softmax(outputs_of(module, flat, item["input_ids"]), 1).detach()
        hessian = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
        own.append(torch.einsum("tap,tab,tbp->p", jacobian, hessian, jacobian))
    own = torch.stack(own)
    ratio = -(own + WEIGHT_DECAY) / (own.sum(0) + N * WEIGHT_DECAY)
    exact = 0.5 * (ratio - torch.log1p(ratio)).sum(1).numpy()
    step = lapsi.Ekfac(refine=0)
    found = [
        score(module, data, curvature="diag", draws=draws, engine=step, execution=lapsi.Execution(verify=0, seed=seed))
        for seed in range(12)
    ]
    mean = np.mean([scores.table["lsi_curvature"] for scores in found], 0)
    assert 0.85 < np.median(mean / exact) < 1.15  # 1 + 2/draws without the halves: 1.8 and 1.4
    spread = np.std([scores.lsi for scores in found], 0, ddof=1) / np.mean([scores.lsi for scores in found], 0)
    told = np.sqrt(np.mean([scores.table["lsi_draw_error"] ** 2 for scores in found], 0))
    assert 0.5 < np.median(told / spread) < 2


@pytest.mark.parametrize("curvature", ["diag", "ekfac"])
def test_the_width_of_retrained_texts_is_made_of_both_halves_of_the_draws(trained, monkeypatch, curvature):
    """Where nothing moves, posteriors that are evaluated anew differ by what the text itself says."""
    module, data = trained
    seen = {}
    kept = EkfacFit.remove

    def remove(fit, units, part, advance):
        for removed in kept(fit, units, part, advance):
            still = replace(removed, shift=torch.zeros_like(removed.shift), params=fit.problem.params)
            held, anew = (each.divergence(still) for each in (fit.curvature, fit.curvature.exact(len(units))))
            assert_allclose(anew.curvature, held.curvature, rtol=1e-8)
            plain = fit.curvature.divergence(replace(still, own_paired=None)).curvature
            seen[curvature] = float((plain / held.curvature).median())
            yield removed

    monkeypatch.setattr(EkfacFit, "remove", remove)
    score(module, data, curvature=curvature, draws=3, engine=lapsi.Ekfac(refine=0), indices=[1, 5, 7])
    assert seen[curvature] > 1.1


def test_scores_of_texts_do_not_depend_on_batches_or_padding(trained):
    module, data = trained
    whole = score(module, data, pass_size=N)
    alone = score(module, data, pass_size=1, indices=[5, 9])
    for name in ("lsi", "lsi_draw_error", "loo_loss", "leverage"):
        assert_allclose(whole.table[name][[5, 9]], alone.table[name], rtol=1e-9, err_msg=name)


def test_the_mean_of_the_tokens_makes_long_texts_count_less(trained):
    module, data = trained
    summed, mean = score(module, data), score(module, data, tokens="mean")
    ratio = (mean.lsi / summed.lsi)[np.argsort(summed.table["label"])]
    assert ratio[-5:].mean() < ratio[:5].mean() < 1.5
    assert_allclose(mean.table["label"], summed.table["label"])


def test_a_run_of_texts_is_kept_shown_and_read_again(trained, tmp_path):
    module, data = trained
    scores = score(module, data, execution=lapsi.Execution(verify=4))
    scores.save(tmp_path / "run")
    again = Scores.load(tmp_path / "run")
    assert again.task == "tokens"
    assert_allclose(again.lsi, scores.lsi)
    assert again.summary()["samples"].iloc[-1] == N
    assert scores.provenance.train_perplexity == pytest.approx(
        np.exp(np.average(np.log(scores.table["train_perplexity"]), weights=scores.table["label"]))
    )
    assert len(scores.provenance.verification["rows"]) == 4
    assert json.loads((tmp_path / "run" / "run.json").read_text())["settings"]["network"]["loss"] == "next_token"
    shown = run("show", str(tmp_path / "run")).stdout
    assert "LOO perplexity" in shown
    assert "a class for each token" in " ".join(shown.split())
    assert "not the same as a bad text" in again._repr_html_()
    run("report", str(tmp_path / "run"), "-q")
    assert "Least predictable texts" in (tmp_path / "run.html").read_text()
    with pytest.raises(InputError, match="texts, whose tokens"):
        label_issues(again)
    with pytest.raises(InputError, match="tokens of texts"):
        _ = again.loo_proba


def test_taggers_have_a_class_for_each_token(trained):
    module, data = trained
    rng = np.random.default_rng(2)
    tagged = [{**item, "labels": rng.integers(WORDS, size=len(item["input_ids"])).tolist()} for item in data]
    scores = score(module, tagged, loss="cross_entropy")
    assert scores.table["label"].tolist() == [len(item["input_ids"]) for item in data]


@pytest.mark.parametrize(
    ("item", "choices", "message"),
    [
        ({"input_ids": [1, 2], "labels": [-100, -100]}, {}, "row 3 has no token that counts"),
        ({"input_ids": [1, 2], "labels": [1, 99]}, {}, "expected 0 to 6"),
        ({"input_ids": [1, 2], "labels": [0.5, 1.5]}, {}, "an integer for each token"),
        ({"input_ids": [1, 2], "labels": [0, 1]}, {"curvature": "full"}, "'full'"),
        ({"input_ids": [1, 2], "labels": [0, 1]}, {"draws": 1}, "draws is 1"),
        ({"input_ids": [1, 2], "labels": [0, 1]}, {"loss": "mse"}, "shape"),
    ],
)
def test_texts_that_cannot_be_scored_are_told(trained, item, choices, message):
    module, data = trained
    given = [{**each, "labels": each["input_ids"]} for each in data]
    given[3] = item
    with pytest.raises(InputError, match=message):
        score(module, given, **choices)


def test_language_models_with_adapters_are_scored_in_their_adapters():
    hf, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    torch.manual_seed(0)
    config = hf.GPT2Config(vocab_size=30, n_embd=8, n_layer=1, n_head=2, n_positions=12, bos_token_id=1, eos_token_id=1)
    base = hf.GPT2LMHeadModel(config)
    model = peft.get_peft_model(
        base, peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True, init_lora_weights=False)
    )
    rng = np.random.default_rng(0)
    data = [{"input_ids": rng.integers(2, 30, size=rng.integers(4, 12)).tolist()} for _ in range(12)]
    scores = lapsi.score_network(model, data, objective=DECAY, execution=NO_CHECK, pass_size=4, **QUIET)
    adapters = sum(value.numel() for name, value in model.named_parameters() if "lora" in name)
    assert scores.provenance.plan["n_params"] == adapters
    assert scores.task == "tokens"
    half = lapsi.score_network(model.bfloat16(), data, objective=DECAY, execution=NO_CHECK, pass_size=4, **QUIET)
    assert_allclose(half.lsi, scores.lsi, rtol=0.5)
    assert np.corrcoef(np.log(half.lsi), np.log(scores.lsi))[0, 1] > 0.9
