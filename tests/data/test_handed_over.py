"""What people hold of a trained network is taken as it is: trainers of Lightning and transformers, loaders, data modules."""

import importlib
import logging
import warnings
from types import SimpleNamespace

import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lapsi
from commands import fail, run
from lapsi.data.handed_over import handed_over, holds_module, predicts_next_token
from lapsi.errors import InputError
from lightning_double import DOUBLE, quiet_trainer, trained_on

N = 24
HOW = {"objective": lapsi.ObjectiveSpec(weight_decay=0.05), "execution": lapsi.Execution(verify=0), "progress": False}


def samples():
    X = torch.randn(N, 4, generator=torch.Generator().manual_seed(0))
    return TensorDataset(X, (X[:, 0] > 0).long() + (X[:, 1] > 0).long())


def loader(data, **choices):
    return DataLoader(data, batch_size=8, **choices)


@pytest.fixture(params=["double", "lightning.pytorch", "pytorch_lightning"])
def pl(request):
    """The real library where it is installed, under both of its names, and what lapsi sees of it."""
    if request.param == "double":
        yield DOUBLE
        return
    found = pytest.importorskip(request.param)
    combined = importlib.import_module(f"{request.param}.utilities.combined_loader")
    logging.getLogger(request.param).setLevel(logging.ERROR)
    names = ("LightningModule", "LightningDataModule", "Trainer")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield SimpleNamespace(**{name: getattr(found, name) for name in names}, CombinedLoader=combined.CombinedLoader)


class Steps:
    """Of a Lightning module whose step calls a part of it."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

    def training_step(self, batch, _):
        inputs, labels = batch["a"] if isinstance(batch, dict) else batch if torch.is_tensor(batch[0]) else batch[0]
        return nn.functional.cross_entropy(self.model(inputs), labels)


def stepping(pl, **parts):
    class WithoutForward(Steps, pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(4, 3)
            for name, part in parts.items():
                setattr(self, name, part)

    return WithoutForward()


def test_a_lightning_trainer_its_module_and_its_network_are_scored_alike(pl):
    data = samples()
    trainer = trained_on(data, pl)
    module = trainer.lightning_module
    expected = lapsi.score_network(module.model, data, **HOW)
    for handed in ((trainer,), (module,), (module, data), (trainer, data), (module, loader(data))):
        scores = lapsi.score_network(*handed, **HOW)
        assert_allclose(scores.lsi, expected.lsi, rtol=1e-9)
        assert scores.table["label"].tolist() == data.tensors[1].tolist()
    assert scores.provenance.settings["network"]["module"] == "Classifier"
    assert scores.provenance.source == "TensorDataset"
    last = [lapsi.score_network(each, data, params="last_layer", **HOW) for each in (trainer, module.model)]
    assert_allclose(last[0].lsi, last[1].lsi, rtol=1e-9)


def test_metrics_within_a_lightning_module_are_no_part_of_it():
    pl, metrics = pytest.importorskip("lightning.pytorch"), pytest.importorskip("torchmetrics")
    module = stepping(pl, accuracy=metrics.Accuracy(task="multiclass", num_classes=3))
    assert handed_over(module, samples(), None)[0] is module.model
    trainer = trained_on(samples(), pl)
    expected = lapsi.score_network(trainer, params="last_layer", **HOW)
    trainer.lightning_module.accuracy = module.accuracy
    assert_allclose(lapsi.score_network(trainer, params="last_layer", **HOW).lsi, expected.lsi, rtol=1e-9)


@pytest.mark.parametrize("wrapped", [lambda each: [each], lambda each: {"a": each}, lambda each: {"a": [each]}])
def test_the_only_one_of_several_loaders_is_taken(pl, wrapped):
    data, module, trainer = samples(), stepping(pl), quiet_trainer(pl)
    given = wrapped(loader(data))
    if not isinstance(given, dict) or not isinstance(given["a"], list):
        trainer.fit(module, given)
        assert handed_over(trainer, None, None)[1] is data
    assert handed_over(module, given, None)[1] is data
    assert handed_over(module, pl.CombinedLoader(given), None)[1] is data


def test_of_several_loaders_one_is_to_be_chosen(pl):
    data, module, trainer = samples(), stepping(pl), quiet_trainer(pl)
    trainer.fit(module, pl.CombinedLoader({"a": loader(data), "b": loader(data)}, mode="min_size"))
    with pytest.raises(InputError, match="those of 2 loaders; give the one to score as dataset"):
        lapsi.score_network(trainer, **HOW)
    assert handed_over(trainer, data, None)[1] is data


def test_data_modules_are_asked_for_their_loader(pl):
    data = samples()

    class Held(pl.LightningDataModule):
        def train_dataloader(self):
            return loader(data, collate_fn=collate)

    def collate(items):
        return torch.utils.data.default_collate(items)

    module, trainer = stepping(pl), quiet_trainer(pl)
    trainer.fit(module, datamodule=Held())
    assert handed_over(trainer, None, None)[1:] == (data, collate)
    assert handed_over(module, Held(), None)[1:] == (data, collate)


def test_the_one_part_of_a_module_without_forward_is_its_network(pl):
    data, module = samples(), stepping(pl)
    expected = lapsi.score_network(module.model, data, **HOW)
    assert_allclose(lapsi.score_network(module, data, **HOW).lsi, expected.lsi, rtol=1e-9)


def test_what_of_lightning_cannot_be_used_is_told(pl):
    data = samples()
    with pytest.raises(InputError, match=r"has no forward \(parts with parameters: model, head\); give it one"):
        handed_over(stepping(pl, head=nn.Linear(3, 3)), data, None)
    with pytest.raises(InputError, match=r"has no forward \(parts with parameters: model\)"):
        handed_over(stepping(pl, scale=nn.Parameter(torch.ones(1))), data, None)
    with pytest.raises(InputError, match="Trainer of Lightning has no module yet; hand it over after its fit"):
        handed_over(quiet_trainer(pl), data, None)
    with pytest.raises(InputError, match="a WithoutForward has none; give the training data as dataset"):
        handed_over(stepping(pl), None, None)


def test_language_models_within_lightning_modules_are_known(pl):
    class GuessesLMHeadModel(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(5, 5)

    def holding(**parts):
        class Holds(pl.LightningModule):
            def __init__(self):
                super().__init__()
                for name, part in parts.items():
                    setattr(self, name, part)

            def forward(self, words):
                return self.net.words(words)

        return Holds()

    assert predicts_next_token(holding(net=GuessesLMHeadModel(), loss=nn.CrossEntropyLoss()))
    assert not predicts_next_token(holding(net=GuessesLMHeadModel(), head=nn.Linear(2, 2)))
    assert not predicts_next_token(holding(net=nn.Linear(2, 2)))
    assert not predicts_next_token(nn.Sequential(GuessesLMHeadModel()))


def test_lists_of_samples_are_no_loaders():
    module, items = nn.Linear(4, 3), [(torch.zeros(4), 0), (torch.ones(4), 1)]
    assert handed_over(module, items, None)[:2] == (module, items)
    named = [{"values": [1.0], "label": 0}]
    assert handed_over(module, named, None)[1] is named


def test_only_modules_and_trainers_are_taken_alone():
    assert [holds_module(each) for each in (nn.Linear(1, 1), SimpleNamespace(model=nn.Linear(1, 1)))] == [True, True]
    assert [holds_module(each) for each in (3, {"model": nn.Linear(1, 1)}, SimpleNamespace(model="resnet"))] == [False] * 3


def test_a_trainer_is_scored_from_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(
        "import torch\nfrom lightning_double import trained_on\nfrom torch.utils.data import TensorDataset\n"
        "X = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))\n"
        "def trained():\n    return trained_on(TensorDataset(X, (X[:, 0] > 0).long()))\n"
        "def number():\n    return 3\n"
    )
    run("score-network", "train.py:trained", "-o", "run", "--verify", "0", "--weight-decay", "0.1", "--limit", "5", "-q")
    scores = lapsi.load_run("run")
    assert len(scores) == 5
    assert scores.provenance.settings["network"]["module"] == "Classifier"
    assert "a trainer that has both" in fail(2, "score-network", "train.py:number", "-o", "other", "-q")


@pytest.mark.slow
def test_a_trainer_of_transformers_has_module_data_and_batches(tmp_path):
    """Its data have a column that the model does not take, and texts of several lengths, which its collator pads."""
    hf, datasets = pytest.importorskip("transformers"), pytest.importorskip("datasets")
    pytest.importorskip("accelerate")
    torch.manual_seed(0)
    config = hf.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=8, num_labels=2,
    )  # fmt: skip
    words = [[1 + (row * place) % 19 for place in range(1, 4 + row % 4)] for row in range(12)]
    data = datasets.Dataset.from_dict({"input_ids": words, "labels": [row % 2 for row in range(12)], "note": ["x"] * 12})
    padded = []

    def collate(items):
        padded.append(items)
        length = max(len(item["input_ids"]) for item in items)
        filled = [item["input_ids"] + [0] * (length - len(item["input_ids"])) for item in items]
        ids = torch.tensor(filled)
        return {"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": torch.tensor([i["labels"] for i in items])}

    options = hf.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=1, per_device_train_batch_size=4, report_to=[], use_cpu=True,
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = hf.Trainer(
        model=hf.BertForSequenceClassification(config), args=options, train_dataset=data, data_collator=collate
    )
    trainer.train()
    padded.clear()
    scores = lapsi.score_network(trainer, **HOW)
    assert padded
    assert all("note" not in item for items in padded for item in items)
    plain = data.remove_columns("note").with_format("torch")
    expected = lapsi.score_network(trainer.model, plain, pass_size=1, **HOW)
    assert_allclose(scores.lsi, expected.lsi, rtol=2e-3)
    assert scores.table["label"].tolist() == data["labels"][:]
    assert scores.provenance.settings["network"]["module"] == "BertForSequenceClassification"
