"""Runs whose targets are numbers, several labels a sample, or the words of texts; some of them known to be wrong."""

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_diabetes, load_digits

import lapsi


def numbers(n_outputs):
    """Diabetes, the target of each 40th patient off by 400; with two outputs the body mass index as well, with some noise."""
    X, y = load_diabetes(return_X_y=True)
    given = y + 400.0 * (np.arange(len(y)) % 40 == 0)
    columns = {"original_label": y, "ward": np.where(np.arange(len(y)) % 3, "north", "south")}
    if n_outputs == 1:
        return lapsi.score(X, given, columns=columns, verify=0, progress=False)
    second = 100 * X[:, 2] + np.random.default_rng(0).normal(size=len(y))
    targets = pd.DataFrame({"progression": given, "mass": second})
    return lapsi.score(X, targets, columns={"ward": columns["ward"]}, verify=0, progress=False)


def digits_as_bits():
    """400 digits with the four bits of their value as labels; of each 25th one bit is wrong."""
    X, y = load_digits(return_X_y=True)
    truth = pd.DataFrame({f"bit {k}": (y[:400] >> k) & 1 for k in range(4)})
    given = truth.copy()
    given.iloc[::25, 2] ^= 1
    names = truth.columns.to_numpy()
    right = ["|".join(names[row > 0]) for row in truth.to_numpy()]
    return lapsi.score(X[:400], given, columns={"original_label": right}, verify=0, progress=False)


class NextWord(torch.nn.Module):
    """Guesses the next word from the last one."""

    def __init__(self, n_words):
        super().__init__()
        self.table = torch.nn.Embedding(n_words, n_words)

    def forward(self, input_ids, attention_mask=None):
        return self.table(input_ids)


def sentences():
    """100 sentences of one grammar, some of their words swapped. The model knows which word follows which."""
    rng = np.random.default_rng(0)
    names = ("the", "old", "cat", "dog", "sees", "hears", "a", "mouse", "tree", "near", "and", ".")
    number = {word: place for place, word in enumerate(names)}
    texts = []
    for row in range(100):
        animal, verb, thing = (rng.choice(pair) for pair in (["cat", "dog"], ["sees", "hears"], ["mouse", "tree"]))
        words = ["the", *["old"] * (row % 2), animal, verb, "a", thing, *["near", "the", "tree"][: row % 4], "."]
        for _ in range(rng.poisson(0.8)):
            one, other = rng.integers(len(words), size=2)
            words[one], words[other] = words[other], words[one]
        texts.append(words)
    torch.manual_seed(0)
    model = NextWord(len(names))
    words = [torch.tensor([number[word] for word in text]) for text in texts]
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for _ in range(100):
        optimizer.zero_grad()
        losses = [torch.nn.functional.cross_entropy(model(text[:-1]), text[1:], reduction="sum") for text in words]
        decay = sum(value.square().sum() for value in model.parameters())
        (torch.stack(losses).mean() + 0.005 * decay).backward()
        optimizer.step()
    return lapsi.score_network(
        model,
        [{"input_ids": text} for text in words],
        loss="next_token",
        objective=lapsi.ObjectiveSpec(weight_decay=0.01),
        execution=lapsi.Execution(verify=0),
        columns={"text": [" ".join(text) for text in texts]},
        progress=False,
    )
