"""LSI of the sequences on which adapters of a small language model were tuned, a tenth of them shuffled; prints one JSON line.

    python benchmarks/language_model.py REVIEWS.parquet [--sequences 500] [--length 64] [--epochs 3] [--tuning 10] [--rank 4]
                                        [--verify 0] [--refine 0] [--dtype float32] [--save RUN]

A GPT-2 of 4 layers over the most frequent words of the column "text" is trained on the other reviews; then LoRA adapters of its
attention on the sequences, of which a tenth have their words shuffled. `auroc`: how well LSI, and the leave-one-out loss, tell
those; `factor`: the passes of LSI over one epoch of the tuning.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from peft import LoraConfig, get_peft_model
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel

import lapsi

GIB = 2**30
WORDS, UNKNOWN, BATCH = 4000, 1, 32
SHUFFLED = 0.1


def sequences(path: Path, length: int) -> tuple[Tensor, list[str]]:
    """The first words (N, length) of each review that has as many, by their number among the most frequent; and as text."""
    split = [re.findall(r"[a-z']+", text.lower()) for text in pd.read_parquet(path)["text"]]
    common = Counter(word for words in split for word in words).most_common(WORDS - 2)
    number = {word: place + 2 for place, (word, _) in enumerate(common)}
    long = [words[:length] for words in split if len(words) >= length]
    return torch.tensor([[number.get(word, UNKNOWN) for word in words] for words in long]), [" ".join(words) for words in long]


def train(model: nn.Module, words: Tensor, epochs: int, rate: float) -> float:
    """By Adam, on the loss of the next word; returns the seconds of an epoch."""
    chosen = [value for value in model.parameters() if value.requires_grad]
    optimizer = torch.optim.Adam(chosen, rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(epochs, 1))
    start = time.perf_counter()
    for epoch in range(epochs):
        for rows in torch.randperm(len(words), generator=torch.Generator().manual_seed(epoch)).split(BATCH):
            optimizer.zero_grad()
            model(input_ids=words[rows], labels=words[rows]).loss.backward()
            optimizer.step()
        schedule.step()
    return (time.perf_counter() - start) / max(epochs, 1)


def main() -> None:
    """Trains, tunes, scores, and tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sequences", type=int, default=500)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--tuning", type=int, default=10)
    parser.add_argument("--rank", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--verify", type=int, default=0)
    parser.add_argument("--refine", type=int, default=0)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--save", type=Path)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    words, texts = sequences(arguments.data, arguments.length)
    chosen = words[: arguments.sequences].clone()
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(chosen))[: round(SHUFFLED * len(chosen))]
    for row in shuffled:
        order = rng.permutation(arguments.length)
        chosen[row] = chosen[row][torch.from_numpy(order)]
        texts[row] = " ".join(np.array(texts[row].split())[order])
    config = GPT2Config(
        vocab_size=WORDS,
        n_positions=arguments.length,
        n_embd=arguments.width,
        n_layer=4,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
    )
    base = GPT2LMHeadModel(config)
    train(base, words[arguments.sequences :], arguments.epochs, 1e-3)
    adapters = LoraConfig(r=arguments.rank, target_modules=["c_attn"], fan_in_fan_out=True)
    model = get_peft_model(base, adapters)
    epoch = train(model, chosen, arguments.tuning, 2e-3)
    model = model.to(getattr(torch, arguments.dtype))
    start = time.perf_counter()
    scores = lapsi.score_network(
        model,
        [{"input_ids": row} for row in chosen],
        columns={"text": texts[: len(chosen)]},
        engine=lapsi.Ekfac(refine=arguments.refine),
        execution=lapsi.Execution(verify=arguments.verify),
        progress=False,
    )
    seconds, told = scores.provenance.seconds, scores.provenance.verification or {}
    is_shuffled = np.isin(np.arange(len(chosen)), shuffled)
    passes = seconds["factors"] + seconds["curvature"] + seconds["leave-one-out"]
    record = {
        "n_sequences": len(chosen),
        "n_params": scores.provenance.plan["n_params"],
        "dtype": arguments.dtype,
        "train_perplexity": scores.provenance.train_perplexity,
        "auroc": {
            name: round(float(roc_auc_score(is_shuffled, scores.table[name])), 3) for name in ("lsi", "loo_loss", "memorised")
        },
        "seconds_of_an_epoch": round(epoch, 2),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "seconds_whole": round(time.perf_counter() - start, 1),
        "factor": round(passes / epoch, 2),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIB, 2),
        "weight_decay": scores.provenance.settings["objective"]["weight_decay"],
        "unconverged": scores.provenance.plan["unconverged"],
        "median_lsi": float(np.median(scores.lsi)),
        "median_draw_error": float(scores.table["lsi_draw_error"].median()),
        "refine": arguments.refine,
        **{name: told.get(name) for name in ("spearman", "pearson", "median_ratio")},
        "threads": torch.get_num_threads(),
    }
    if arguments.save is not None:
        scores.save(arguments.save, force=True)
    print(json.dumps(record))


if __name__ == "__main__":
    main()
