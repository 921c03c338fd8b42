"""Sparse matrices in files, with labels in a column or array of another one."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from scipy.sparse import coo_array, csr_array, csr_matrix, random_array, save_npz

import lapsi
from commands import fail, succeed
from lapsi.data.readers.columns import Columns
from lapsi.data.readers.source import open_source

N = 40
Y = np.array(["a", "b"])[np.arange(N) % 2]
DENSE = (
    random_array((N, 300), density=0.1, rng=np.random.default_rng(1)).toarray() + (np.arange(300) == 7) * (Y == "b")[:, None]
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_npz("X.npz", csr_array(DENSE))
    np.save("y.npy", Y)
    np.savez("known.npz", labels=Y, id=[f"s{row}" for row in range(N)])
    table = pd.DataFrame({"id": [f"s{row}" for row in range(N)], "kind": Y, "author": np.arange(N) // 4, "weight": 2.0})
    table.to_csv("known.csv", index=False)
    table.to_csv("known.tsv.gz", index=False, sep="\t")


@pytest.mark.parametrize("kind", ["csr", "csc", "coo", "bsr"])
@pytest.mark.parametrize("labels", ["y.npy", "known.npz", "known.csv:kind", "known.tsv.gz:kind"])
def test_the_features_are_those_of_python(kind, labels):
    save_npz("X.npz", getattr(csr_array(DENSE), f"to{kind}")())
    held = open_source("X.npz", Columns(labels=labels))
    expected = lapsi.score(csr_array(DENSE), Y, verify=0, progress=False)
    assert held.digest() == expected.provenance.data_hash
    assert held.targets.shown.tolist() == Y.tolist()
    assert "SVD of 39 dimensions" in held.made_by["table"]["columns"][0]["became"]


def test_a_run_knows_all_that_other_files_tell(tmp_path):
    options = ("--labels", "known.csv:kind", "--ids", "known.csv", "--group", "known.csv:author")
    told = " ".join(succeed("score", "X.npz", *options, "--verify", 0, "-o", "run").stderr.split())
    assert "1 of 1 columns became 39 features (scikit-learn): features sparse, 40 × 300" in told
    scores = lapsi.load_run("run")
    assert_array_equal(scores.table["id"], [f"s{row}" for row in range(N)])
    assert_array_equal(scores.table["group"], np.arange(N) // 4)
    assert scores.provenance.data["columns"]["labels"] == f"{tmp_path / 'known.csv'}:kind"
    succeed("measure", "run", "--add", "el2n", "-q")
    succeed("report", "run", "-q")
    assert np.isfinite(lapsi.load_run("run").table["el2n"]).all()


def test_shards_lie_below_each_other():
    for part, rows in enumerate((slice(0, 15), slice(15, N))):
        save_npz(f"part-{part}.npz", csr_array(DENSE[rows]))
    whole, parts = (open_source(source, Columns(labels="y.npy")) for source in ("X.npz", "part-*.npz"))
    assert parts.digest() == whole.digest()
    save_npz("part-2.npz", csr_array(DENSE[:5, :7]))
    with pytest.raises(lapsi.InputError, match="part-2.npz has 7 features, part-0.npz has 300"):
        open_source("part-*.npz", Columns(labels="y.npy"))


def test_dense_features_take_labels_of_a_table_too():
    np.save("X.npy", DENSE)
    held = open_source("X.npy", Columns(labels="known.csv:kind", ids="known.csv:id", weights="known.csv:weight"))
    assert held.weights.tolist() == [2.0] * N
    assert held.targets.shown.tolist() == Y.tolist()
    assert held.ids[3] == "s3"


def _outside():
    matrix = csr_matrix(DENSE)
    matrix.indices[0] = 10**6
    return matrix


DAMAGED = {
    "outside": (_outside, "X.npz cannot be read as .npz ("),
    "rows": (lambda: coo_array(([1.0], ([10**11], [0])), shape=(10**12, 5)), "There are 1000000000000 samples but 40 labels"),
    "axes": (lambda: coo_array(np.arange(9.0)), "it holds a sparse array of shape (9,), not a matrix"),
    "gaps": (lambda: csr_array(np.where(DENSE > 0, np.nan, 0)), "float64 or not all finite; expected finite real numbers"),
    "few": (lambda: csr_array(DENSE[:9]), "There are 9 samples but 40 labels"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_matrices_are_one_line_and_write_nothing(name):
    make, message = DAMAGED[name]
    save_npz("X.npz", make())
    assert message in fail(2, "score", "X.npz", "--labels", "y.npy", "-o", "run", "-q")
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            (),
            "holds a sparse matrix, the features; name a file with the labels: --labels y.npy, or --labels FILE:COLUMN.",
        ),
        (("--labels", "none.csv:kind"), "none.csv does not exist"),
        (("--labels", "known.csv:knd"), "known.csv has no labels named 'knd'; it has id, kind, author, weight."),
        (("--labels", "known.csv"), "known.csv: which holds the labels? Name it with --labels known.csv:NAME; it has id, kind"),
        (
            ("--labels", "y.npy", "--weights", "known.csv"),
            "known.csv: which holds the weights? Name it with --weights known.csv:",
        ),
        (("--labels", "y.npy", "--features", "a"), "--features does not apply: X.npz holds a sparse matrix; leave it out."),
        (("--labels", "y.npy", "--keep", "a"), "--keep does not apply: X.npz holds a sparse matrix; leave it out."),
    ],
)
def test_what_is_missing_is_one_line(tmp_path, options, message):
    said = fail(2, "score", "X.npz", *options, "-o", "run", "-q").replace(f"{tmp_path}/", "")
    assert message in said
    assert not Path("run").exists()
