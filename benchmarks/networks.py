"""LSI of the training data of networks against a plain training epoch, and against training on; prints one JSON line.

    python benchmarks/networks.py cnn IMAGES.zip|FOLDER [--samples 2000] [--width 64] [--epochs 20] [--checks 16] [--refine]
        [--check-epochs 3]
    python benchmarks/networks.py text REVIEWS.parquet [--samples 2000] [--width 64] [--length 256] [--epochs 5] [--checks 16]
        [--refine]

cnn: a ResNet-9 with group norm on an image folder with one folder a class; text: a transformer of 4 layers on the first words
of the column "text", label "label". Both are trained by Adam first; then every sample is scored by one step. `factor`: the
passes of LSI (factors, curvature, leaving out) over one epoch of the same training. Samples spread over the ranking are checked
by more epochs of Adam at a tenth of the rate, with and without each: `step` and, with --refine, `refined` tell how LSI by one
step, and by conjugate gradients on the whole GGN, compares with theirs.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import time
import zipfile
from collections import Counter
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import lapsi

GIB = 2**30
WORDS = 5000
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

    def __init__(self, width: int, n_classes: int, length: int) -> None:
        """Words and places are embedded; the words are not trained, as in fine-tuning."""
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, width).requires_grad_(False), nn.Embedding(length, width)
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


def texts(path: Path, n_samples: int, length: int) -> TensorDataset:
    """(N, length) the first words by their number among the most frequent, and labels."""
    table = pd.read_parquet(path).sample(n_samples, random_state=0)
    split = [re.findall(r"[a-z']+", text.lower()) for text in table["text"]]
    common = [word for word, _ in Counter(word for words in split for word in words).most_common(WORDS - 2)]
    number = {word: place + 2 for place, word in enumerate(common)}
    rows = torch.zeros(len(split), length, dtype=torch.int64)
    for row, words in zip(rows, split, strict=True):
        known = torch.tensor([number.get(word, 1) for word in words[:length]], dtype=torch.int64)
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


def trained_on(epochs: int) -> lapsi.Retrain:
    """Goes on from the given weights."""
    recipe = lapsi.Recipe(
        optimizer="adam", learning_rate=RATE / 10, epochs=epochs, batching="shuffled", batch_size=BATCH, seeds=1
    )
    return lapsi.Retrain(recipe)


def agreement(lsi: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Of the LSI of some samples (n,) with that of training on."""
    return {
        "spearman": round(float(spearmanr(lsi, reference)[0]), 3),
        "pearson_of_logarithms": round(float(np.corrcoef(np.log(lsi), np.log(reference))[0, 1]), 3),
        "median_ratio": round(float(np.median(lsi / reference)), 4),
    }


def main() -> None:
    """Trains, scores, checks, and tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("cnn", "text"))
    parser.add_argument("data", type=Path)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--length", type=int, default=256, help="words of a text")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--weight-decay", type=float, default=1e-3)
    parser.add_argument("--checks", type=int, default=16)
    parser.add_argument("--check-epochs", type=int, default=3)
    parser.add_argument("--refine", action="store_true", help="the checked samples")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if arguments.kind == "cnn":
        data = images(arguments.data, arguments.samples)
        model = resnet_9(arguments.width, int(data.tensors[1].max()) + 1)
    else:
        data = texts(arguments.data, arguments.samples, arguments.length)
        model = Transformer(arguments.width, int(data.tensors[1].max()) + 1, arguments.length)
    epoch = train(model, data, arguments.epochs, arguments.weight_decay)
    scored = partial(
        lapsi.score_network,
        model,
        data,
        objective=lapsi.ObjectiveSpec(weight_decay=arguments.weight_decay),
        execution=lapsi.Execution(verify=0),
        progress=False,
    )
    scores = scored(engine=lapsi.Ekfac(refine=0))
    seconds = scores.provenance.seconds
    record: dict[str, object] = {
        "kind": arguments.kind,
        "n_samples": len(scores),
        "n_params": scores.provenance.plan["n_params"],
        "train_accuracy": scores.provenance.train_accuracy,
        "seconds_of_an_epoch": round(epoch, 2),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "factor": round((seconds["factors"] + seconds["curvature"] + seconds["leave-one-out"]) / epoch, 2),
        "samples_per_second": round(len(scores) / seconds["leave-one-out"], 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 2),
        "unconverged": scores.provenance.plan["unconverged"],
        "median_lsi": float(np.median(scores.lsi)),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(record), flush=True)
    if arguments.checks > 0:
        rows = np.sort(np.argsort(scores.lsi)[np.linspace(0, len(scores) - 1, arguments.checks).astype(int)])
        reference = scored(engine=trained_on(arguments.check_epochs), indices=rows)
        record |= {"checks": len(rows), "check_epochs": arguments.check_epochs, "check_seconds": reference.provenance.seconds}
        record["step"] = agreement(scores.lsi[rows], reference.lsi)
        print(json.dumps(record), flush=True)
        if arguments.refine:
            refined = scored(engine=lapsi.Ekfac(refine=len(rows)), indices=rows)
            record |= {"refined": agreement(refined.lsi, reference.lsi), "refine_seconds": refined.provenance.seconds}
    print(json.dumps(record))


if __name__ == "__main__":
    main()
