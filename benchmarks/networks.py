"""LSI of the training data of networks, with the step and refined, against a plain training epoch; prints one JSON line.

    python benchmarks/networks.py cnn IMAGES.zip|FOLDER [--samples 2000] [--width 64] [--epochs 20] [--verify 16] [--refine 0]
        [--check-epochs 0]
    python benchmarks/networks.py text REVIEWS.parquet [--samples 2000] [--width 64] [--epochs 5] [--verify 16] [--refine 0]

cnn: a ResNet-9 with group norm on an image folder with one folder a class; text: a transformer of 4 layers on the words of the
column "text", label "label". Both are trained by Adam first. Samples are checked by training on to an optimum, or with
`--check-epochs` by so many epochs of Adam at a tenth of the rate, with and without each. `factor`: the passes of LSI (factors,
curvature, leaving out) over one epoch of the same training.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import time
import zipfile
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import lapsi

GIB = 2**30
WORDS, LENGTH = 5000, 64
BATCH, RATE = 64, 2e-3


class Residual(nn.Module):
    """Two convolutions with group norm beside their input."""

    def __init__(self, width: int) -> None:
        """Of as many channels in as out."""
        super().__init__()
        self.inner = nn.Sequential(_conv(width, width), _conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Of images (n, c, h, w)."""
        return x + self.inner(x)


def _conv(inputs: int, outputs: int, pool: bool = False) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.GroupNorm(8, outputs), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))


def resnet_9(width: int, n_classes: int) -> nn.Module:
    """Eight convolutions and a linear head."""
    return nn.Sequential(
        _conv(3, width),
        _conv(width, 2 * width, pool=True),
        Residual(2 * width),
        _conv(2 * width, 4 * width, pool=True),
        _conv(4 * width, 4 * width, pool=True),
        Residual(4 * width),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, n_classes),
    )


class Block(nn.Module):
    """Attention by its linears, and two layers, each beside its input."""

    def __init__(self, width: int, heads: int = 4) -> None:
        """Of a width that the heads divide."""
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Of words (n, t, d)."""
        h = self.before(x)
        q, k, v = (part(h).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value))
        mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        x = x + self.out(mixed)
        return x + self.narrow(nn.functional.gelu(self.wide(self.between(x))))


class Transformer(nn.Module):
    """Four blocks over words; the mean over places is classified."""

    def __init__(self, width: int, n_classes: int) -> None:
        """Words and places are embedded; the words are not trained, as in fine-tuning."""
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width).requires_grad_(False), nn.Embedding(LENGTH, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, n_classes)

    def forward(self, words: Tensor) -> Tensor:
        """Of words (n, t)."""
        places = self.places(torch.arange(words.shape[1])[None])
        return self.head(self.norm(self.blocks(self.words(words) + places)).mean(1))


def images(path: Path, n_samples: int) -> TensorDataset:
    """(N, 3, 32, 32) of a folder or a zip of one, and labels."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as held:
            files = {name: held.read(name) for name in held.namelist() if name.endswith((".jpg", ".png"))}
    else:
        files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.suffix in (".jpg", ".png")}
    names = np.random.default_rng(0).permutation(sorted(files))[:n_samples]
    classes = sorted({Path(name).parent.name for name in files})
    pixels = [np.asarray(Image.open(BytesIO(files[name])).convert("RGB").resize((32, 32))) for name in names]
    inputs = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return TensorDataset(inputs, torch.tensor([classes.index(Path(name).parent.name) for name in names]))


def texts(path: Path, n_samples: int) -> TensorDataset:
    """(N, 64) the first words by their number among the most frequent, and labels."""
    table = pd.read_parquet(path).sample(n_samples, random_state=0)
    split = [re.findall(r"[a-z']+", text.lower()) for text in table["text"]]
    common = [word for word, _ in Counter(word for words in split for word in words).most_common(WORDS - 2)]
    number = {word: place + 2 for place, word in enumerate(common)}
    rows = torch.zeros(len(split), LENGTH, dtype=torch.int64)
    for row, words in zip(rows, split, strict=True):
        known = torch.tensor([number.get(word, 1) for word in words[:LENGTH]], dtype=torch.int64)
        row[: len(known)] = known
    return TensorDataset(rows, torch.from_numpy(table["label"].astype("category").cat.codes.to_numpy(np.int64).copy()))


def train(model: nn.Module, data: TensorDataset, epochs: int, weight_decay: float) -> float:
    """By Adam with a cosine schedule; returns the seconds of an epoch."""
    inputs, labels = data.tensors
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    start = time.perf_counter()
    for epoch in range(epochs):
        for rows in torch.randperm(len(labels), generator=torch.Generator().manual_seed(epoch)).split(BATCH):
            optimizer.zero_grad()
            chosen = [value for value in model.parameters() if value.requires_grad]
            loss = nn.functional.cross_entropy(model(inputs[rows]), labels[rows])
            (loss + weight_decay / 2 * sum(value.square().sum() for value in chosen)).backward()
            optimizer.step()
        schedule.step()
    return (time.perf_counter() - start) / epochs


def checks(epochs: int) -> lapsi.Recipe | None:
    """How checked samples are trained on."""
    if epochs == 0:
        return None
    return lapsi.Recipe(
        optimizer="adam", learning_rate=RATE / 10, epochs=epochs, batching="shuffled", batch_size=BATCH, seeds=1
    )


def main() -> None:
    """Trains, scores, and tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("cnn", "text"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--weight-decay", type=float, default=1e-3)
    parser.add_argument("--verify", type=int, default=0)
    parser.add_argument("--refine", type=int, default=0)
    parser.add_argument("--check-epochs", type=int, default=0)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    data = (images if arguments.kind == "cnn" else texts)(arguments.data, arguments.samples)
    n_classes = int(data.tensors[1].max()) + 1
    model = (resnet_9 if arguments.kind == "cnn" else Transformer)(arguments.width, n_classes)
    epoch = train(model, data, arguments.epochs, arguments.weight_decay)
    scores = lapsi.score_network(
        model,
        data,
        engine=lapsi.Ekfac(refine=arguments.refine, recipe=checks(arguments.check_epochs)),
        objective=lapsi.ObjectiveSpec(weight_decay=arguments.weight_decay),
        execution=lapsi.Execution(verify=arguments.verify),
        indices=None if arguments.limit is None else range(arguments.limit),
        progress=False,
    )
    seconds, n_scored = scores.provenance.seconds, len(scores)
    passes = seconds["factors"] + seconds["curvature"] + seconds["leave-one-out"] * arguments.samples / n_scored
    told = scores.provenance.verification or {}
    record = {
        "kind": arguments.kind,
        "n_samples": arguments.samples,
        "n_scored": n_scored,
        "n_params": scores.provenance.plan["n_params"],
        "train_accuracy": scores.provenance.train_accuracy,
        "seconds_of_an_epoch": round(epoch, 2),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "factor": round(passes / epoch, 2),
        "samples_per_second": round(n_scored / seconds["leave-one-out"], 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 2),
        "unconverged": scores.provenance.plan["unconverged"],
        "median_lsi": float(np.median(scores.lsi)),
        "refine": arguments.refine,
        **{name: told.get(name) for name in ("spearman", "pearson", "median_ratio", "n_unfinished")},
        "check_epochs": arguments.check_epochs,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
