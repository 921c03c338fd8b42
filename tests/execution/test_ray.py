"""A real Ray cluster of two workers: every row as in one process, also where a worker is killed, or another backend began."""

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal

import lapsi
from commands import fail, run
from documents import one_thread
from lapsi import Recipe
from lapsi.data.dataset import make_dataset
from lapsi.data.extractors import embedding
from lapsi.data.extractors.embedding import embed_content
from lapsi.data.samples import Texts
from lapsi.engines.base import work_of
from lapsi.engines.choose import make_engine
from lapsi.engines.evaluate import evaluate, n_steps
from lapsi.errors import BackendError, ConvergenceError, InputError
from lapsi.execution.backend import HERE, Backend, Task, open_backend
from lapsi.execution.checkpoint import open_checkpoint
from lapsi.execution.progress import Stages
from lapsi.measures.lsi import observation
from lapsi.problem.of_dataset import weighed
from lapsi.scoring import score_dataset
from lapsi.settings.execution import Execution
from lapsi.settings.extractor import ExtractorSettings
from lapsi.settings.settings import make_settings
from lapsi.training.regularization import regularized
from tiny_models import save_bert

pytestmark = pytest.mark.slow
N, D, C = 120, 5, 4
QUIET = Stages(False)
ENGINES = {
    "newton": {},
    "newton closed form": {"refine": 0, "curvature": "kfac"},
    "newton to tolerance": {"engine": "newton", "tolerance": 1e-5, "curvature": "full"},
    "local": {"engine": "local", "converge": 9},
    "retrain": {"recipe": Recipe(epochs=15, seeds=2), "hidden": (4,), "every": 5},
}


@pytest.fixture(scope="module")
def cluster():
    """Ray with two workers of one processor each, of which this process is part."""
    ray = pytest.importorskip("lapsi.execution.ray").ray
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers do not find this file
    yield ray
    ray.shutdown()


@pytest.fixture
def workers(cluster):
    with open_backend(Execution(backend="ray")) as backend, one_thread():
        yield backend


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_t(3, size=(N, D))
    return X, (X[:, :C] + rng.gumbel(size=(N, C))).argmax(1)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Several parts of a few samples, of which some take all rounds."""
    for name in ("newton.steps.PART_UNITS", "local.steps.PART_UNITS"):
        monkeypatch.setattr(f"lapsi.engines.{name}", 25)
    monkeypatch.setattr("lapsi.engines.removal.fit.CONVERGED_UNITS", 8)
    monkeypatch.setattr("lapsi.engines.groups.engine.PART_UNITS", 5)
    monkeypatch.setattr("lapsi.engines.newton.ridge.PART_UNITS", 5)
    monkeypatch.setattr("lapsi.engines.retrain.plan.MOST_MODELS", 25)
    monkeypatch.setattr("lapsi.engines.retrain.module.PART_MODELS", 25)
    monkeypatch.setattr("lapsi.engines.ekfac.fit.PART_UNITS", 25)


def settings_of(name, monkeypatch):
    if name == "newton to tolerance":
        monkeypatch.setattr("lapsi.engines.newton.plan.REFINE_FLOOR", 0)
    return make_settings(**ENGINES[name], verify=0, weight_decay=0.02)


def scored(data, settings, backend, keep=None):
    return score_dataset(make_dataset(*data), settings, np.arange(N), QUIET, keep, backend)[0]


def assert_same(scores, expected):
    pd.testing.assert_frame_equal(scores.table, expected.table, check_exact=True)
    assert_array_equal(scores.prediction, expected.prediction)
    if expected.trajectory is not None:
        pd.testing.assert_frame_equal(scores.trajectory, expected.trajectory, check_exact=True)


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_gives_the_rows_of_one_process(data, workers, monkeypatch, name):
    settings = settings_of(name, monkeypatch)
    assert_same(scored(data, settings, workers), scored(data, settings, HERE))


@dataclass(frozen=True)
class Deadly(Task):
    """Kills its worker in the middle of one part, once where `marker` can be made, else always."""

    task: Task
    marker: Path | None

    def start(self):
        work = self.task.start()

        def do(part: Any, advance: Any) -> Any:
            if self.marker is None or (part.positions[0] > 0 and not self.marker.exists()):
                work(part, advance)
                time.sleep(0.4)
                advance(0)  # is told now
                time.sleep(0.8)
                if self.marker is not None:
                    self.marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return work(part, advance)

        return do


@dataclass(frozen=True)
class Killing(Backend):
    """Of whose workers one is killed on purpose."""

    backend: Backend
    marker: Path | None

    def map(self, task, parts, advance):
        return self.backend.map(Deadly(task, self.marker), parts, advance)


@dataclass(frozen=True)
class Noting(Task):
    """Does nothing but tell a step."""

    def start(self):
        return lambda part, advance: advance(1)


def test_work_that_kills_every_worker_ends(workers, monkeypatch):
    monkeypatch.setattr("lapsi.execution.ray.TRIES_AGAIN", 1)
    with pytest.raises(BackendError, match="was lost 2 times"):
        list(workers.map(Deadly(Noting(), None), [0], lambda _: None))


@pytest.mark.parametrize(("name", "kills"), [("newton to tolerance", False), ("local", False), ("newton to tolerance", True)])
def test_a_killed_worker_changes_no_row_and_the_bar_ends_at_its_total(
    data, workers, monkeypatch, tmp_path, capsys, name, kills
):
    settings = settings_of(name, monkeypatch)
    dataset = weighed(make_dataset(*data), settings)
    chosen, engine = regularized(dataset, settings, QUIET), make_engine(settings)
    fit = engine.fit(dataset, chosen.standardizer, engine.plan(work_of(dataset, N)), QUIET)
    told, checkpoint, units = [], open_checkpoint(None, {}, {}), torch.arange(N)[:, None]
    backend = Killing(workers, tmp_path / "killed") if kills else workers
    found = evaluate(fit, units, observation(fit), checkpoint, told.append, backend)
    expected = evaluate(fit, units, observation(fit), checkpoint, lambda _: None)
    for arrays, others in zip(found, expected, strict=True):
        assert arrays.keys() == others.keys()
        for column, values in arrays.items():
            assert_array_equal(values, others[column])
    assert (tmp_path / "killed").exists() == kills
    time.sleep(1.0 if kills else 0.0)  # Ray tells of it in a thread of its own
    assert capsys.readouterr().out == ""
    assert sum(told) == n_steps(fit, N, checkpoint) > 0
    assert min(told) >= 0


@pytest.mark.parametrize(
    ("name", "begins"),
    [("newton to tolerance", "local"), ("newton to tolerance", "ray"), ("retrain", "local")],
)
def test_work_goes_on_on_the_other_backend(data, workers, monkeypatch, tmp_path, name, begins):
    from lapsi.execution.checkpoint import Checkpoint, Keep

    settings = settings_of(name, monkeypatch)
    expected = scored(data, settings, HERE)
    first, then = (HERE, workers) if begins == "local" else (workers, HERE)
    save, saved = Checkpoint.save, []

    def stop_after_three(self, part, arrays):
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.append(part)
        save(self, part, arrays)

    monkeypatch.setattr(Checkpoint, "save", stop_after_three)
    with pytest.raises(KeyboardInterrupt):
        scored(data, settings, first, Keep(tmp_path / "parts", {}))
    monkeypatch.setattr(Checkpoint, "save", save)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "parts").glob("*.npz")}
    assert len(before) == 3
    assert_same(scored(data, settings, then, Keep(tmp_path / "parts", {})), expected)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


GROUPS = np.repeat(np.arange(23), np.arange(1, 24))[:N] % 19  # of 1 to 18 samples and more: by updates and by factors


def removed_groups(data, backend="local", **more):
    """The table, and how far what was checked is."""
    options = {"curvature": "kfac", "verify": 2, "weight_decay": 0.02, "progress": False, "backend": backend}
    table = lapsi.leave_group_out(data[0], data[1], GROUPS, **options | more)
    return table, table.attrs.get("verification")


def assert_same_groups(found, expected):
    pd.testing.assert_frame_equal(found[0], expected[0], check_exact=True)
    assert found[1] == expected[1]


@pytest.mark.parametrize("curvature", ["diag", "kfac", "full"])
def test_groups_are_those_of_one_process(data, workers, curvature):
    assert_same_groups(removed_groups(data, "ray", curvature=curvature), removed_groups(data, curvature=curvature))


def test_groups_whose_noise_is_found_anew_are_those_of_one_process(data, workers):
    numbers = (data[0], data[0] @ np.arange(1.0, D + 1) + data[1])
    options = {"noise_removal": "anew", "curvature": "diag", "task": "regression", "noise_variance": "residuals"}
    expected = removed_groups(numbers, **options)
    assert_same_groups(removed_groups(numbers, "ray", **options), expected)


@pytest.mark.parametrize("begins", ["local", "ray"])
def test_groups_go_on_on_the_other_backend(data, workers, monkeypatch, tmp_path, begins):
    from lapsi.execution.checkpoint import Checkpoint

    expected, save, saved, then = removed_groups(data), Checkpoint.save, [], {"local": "ray", "ray": "local"}[begins]

    def stop_after_two(self, part, arrays):
        if len(saved) == 2:
            raise KeyboardInterrupt
        saved.append(part)
        save(self, part, arrays)

    parts = tmp_path / "parts"
    with monkeypatch.context() as patched:
        patched.setattr(Checkpoint, "save", stop_after_two)
        with pytest.raises(KeyboardInterrupt):
            removed_groups(data, begins, checkpoint=parts)
    before = {path: path.stat().st_mtime_ns for path in parts.glob("*.npz")}
    assert len(before) == 2
    with pytest.raises(InputError, match="n_groups was 15, now 7; other samples are to be scored"):
        lapsi.leave_group_out(*data, GROUPS % 7, curvature="kfac", weight_decay=0.02, progress=False, checkpoint=parts)
    assert_same_groups(removed_groups(data, then, checkpoint=parts), expected)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    assert len(list(parts.glob("*.npz"))) == 3


def test_the_command_line_leaves_groups_out_at_workers(data, workers, tmp_path):
    np.savez(tmp_path / "x.npz", features=data[0], labels=data[1], group=GROUPS)
    options = ("--verify", 0, "--weight-decay", 0.02, "--quiet")
    assert run("score", tmp_path / "x.npz", *options, "-o", tmp_path / "run").returncode == 0
    call = ("groups", tmp_path / "run", "--by", "label", "--leave-group-out", "--json")
    there = run(*call, "--backend", "ray", "--checkpoint", tmp_path / "parts")
    assert there.returncode == 0, there.stderr
    assert there.stdout == run(*call).stdout == run(*call, "--checkpoint", tmp_path / "parts").stdout
    assert fail(2, "groups", tmp_path / "run", "--backend", "ray").startswith("lapsi: --backend is of leaving groups out")


def test_the_command_line_goes_on_without_ray(data, workers, monkeypatch, tmp_path):
    from lapsi.execution.checkpoint import Checkpoint

    np.savez(tmp_path / "x.npz", features=data[0], labels=data[1])
    plain = ("score", tmp_path / "x.npz", "--verify", 0, "--weight-decay", 0.02, "-o")
    assert run(*plain, tmp_path / "whole").returncode == 0
    save = Checkpoint.save

    def stop_at_the_third(self, part, arrays):
        if part.endswith("part00002"):
            raise KeyboardInterrupt
        save(self, part, arrays)

    monkeypatch.setattr(Checkpoint, "save", stop_at_the_third)
    stopped = run(*plain, tmp_path / "run", "--backend", "ray", "--worker-cpus", 1)
    assert stopped.returncode == 130
    assert "go on with: lapsi score --resume" in stopped.stderr
    monkeypatch.setattr(Checkpoint, "save", save)
    assert run("score", "--resume", tmp_path / "run", "--backend", "local").returncode == 0
    assert_same(lapsi.load_run(tmp_path / "run"), lapsi.load_run(tmp_path / "whole"))


@dataclass(frozen=True)
class Failing(Task):
    error: Exception

    def start(self):
        def do(part, advance):
            raise self.error

        return do


@pytest.mark.parametrize("error", [ConvergenceError("It diverged."), ZeroDivisionError("by zero")], ids=["ours", "other"])
def test_errors_arrive_as_themselves(workers, error):
    with pytest.raises(type(error)) as caught:
        list(workers.map(Failing(error), range(4), lambda _: None))
    assert str(caught.value) == str(error)


def missing_there(shared, part, meter, key, n_threads):
    """As `_run`, of a package that the workers lack."""
    raise RuntimeError("The remote function failed to import on the worker.\n\nModuleNotFoundError: No module named 'lapsi'")


def test_a_machine_without_lapsi_is_told_in_one_line(workers, monkeypatch):
    monkeypatch.setattr("lapsi.execution.ray._run", missing_there)
    with pytest.raises(BackendError, match=r"cannot load lapsi \(ModuleNotFoundError: No module named 'lapsi'\)"):
        list(workers.map(Noting(), [0], lambda _: None))


def test_features_are_those_of_one_process(workers, monkeypatch, tmp_path):
    monkeypatch.setattr(embedding, "SHARD_ROWS", 5)
    rng = np.random.default_rng(0)
    content = Texts([" ".join(rng.choice(["good", "bad", "film", "so"], 4)) for _ in range(23)])
    settings = ExtractorSettings(model=str(save_bert(tmp_path / "bert")), batch_size=4)
    expected = embed_content(content, settings, tmp_path / "a", QUIET)
    found = embed_content(content, settings, tmp_path / "b", QUIET, backend=workers)
    assert_array_equal(found.features, expected.features)
    assert (found.digest, found.record["n_from_cache"]) == (expected.digest, 0)
    again = embed_content(content, settings, tmp_path / "b", QUIET, backend=workers)
    assert_array_equal(again.features, expected.features)
    assert again.record["n_from_cache"] == 23


def test_what_no_machine_has_is_refused(cluster):
    with (
        pytest.raises(InputError, match="No machine of the cluster has 64 processors for a worker"),
        open_backend(Execution(backend="ray", worker_cpus=64)),
    ):
        pass
    with (
        pytest.raises(InputError, match="is connected to Ray at"),
        open_backend(Execution(backend="ray", address="10.0.0.1:6379")),
    ):
        pass


def test_tensors_travel_as_they_are(cluster):
    from lapsi.execution.frozen import frozen, thawed

    values = [
        torch.arange(6.0, dtype=torch.float64).view(2, 3),
        torch.arange(6).view(2, 3).T,
        torch.empty(0, 3),
        torch.tensor(2.5),
        torch.ones(3, dtype=torch.bfloat16),
        torch.nn.Parameter(torch.ones(2)),
    ]
    found = thawed(cluster.get(cluster.put(frozen([*values, values[0]]))))
    for value, again in zip(values, found, strict=False):
        torch.testing.assert_close(again, value, rtol=0, atol=0)
        assert again.data_ptr() % 64 == 0  # else LAPACK sums in another order
    assert found[0] is found[6]
    assert isinstance(found[5], torch.nn.Parameter)


def test_other_versions_are_refused(cluster, monkeypatch):
    from lapsi.execution import frozen

    stored = frozen.frozen(1)
    monkeypatch.setattr(frozen, "version", lambda name: "0.0")
    with pytest.raises(BackendError, match=r"has lapsi 0\.0, the run"):
        frozen.thawed(stored)


def listening(answer):
    """The address of a server that gives this answer to whoever connects, or none."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = server.accept()
        connection.sendall(answer)
        time.sleep(5)

    threading.Thread(target=serve, daemon=True).start()
    return f"127.0.0.1:{server.getsockname()[1]}"


def test_an_address_that_does_not_answer_is_refused_in_seconds(monkeypatch):
    ray = pytest.importorskip("lapsi.execution.ray")
    monkeypatch.setattr(ray, "ANSWER_SECONDS", 0.3)
    for address in ("127.0.0.1:1", listening(b"")):
        with pytest.raises(InputError, match=f"No Ray cluster answers at {address}"):
            ray.require_answer(address)
    with pytest.raises(InputError, match="is no Ray cluster"):
        ray.require_answer(listening(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    for address in ("head", "ray://head:10001", "head:port"):
        with pytest.raises(InputError, match="expected HOST:PORT"):
            ray.require_answer(address)


def test_the_cluster_itself_answers(cluster):
    from lapsi.execution.ray import require_answer

    require_answer(cluster.get_runtime_context().gcs_address)


def test_the_command_line_tells_an_address_without_answer_in_one_line(tmp_path):
    np.savez(tmp_path / "x.npz", features=np.eye(4), labels=[0, 1, 0, 1])
    source = "from lapsi.cli.main import main; main()"
    command = ["score", tmp_path / "x.npz", "-o", tmp_path / "run", "--backend", "ray", "--address", "127.0.0.1:1"]
    call = [sys.executable, "-c", source, *map(str, command)]
    ended = subprocess.run(call, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    (line,) = ended.stderr.strip().splitlines()
    assert line.startswith("lapsi: No Ray cluster answers at")
    assert not (tmp_path / "run.partial").exists()


def test_ray_that_is_missing_is_told_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr("lapsi.execution.backend.find_spec", lambda name: None)
    np.savez(tmp_path / "x.npz", features=np.eye(4), labels=[0, 1, 0, 1])
    line = fail(2, "score", tmp_path / "x.npz", "-o", tmp_path / "run", "--backend", "ray")
    assert "Ray is not installed; install it: pip install 'lapsi[ray]'" in line


@pytest.mark.parametrize(
    "engine", [lapsi.Ekfac(), lapsi.Ekfac(refine=0), lapsi.Retrain(Recipe(epochs=10, seeds=2), every=5)], ids=str
)
@pytest.mark.usefixtures("workers")
def test_networks_are_scored_by_the_workers_too(data, engine):
    X, y = data
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(D, 4), torch.nn.Tanh(), torch.nn.Linear(4, C)).double()
    samples = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    how = {"engine": engine, "objective": lapsi.ObjectiveSpec(weight_decay=0.02), "curvature": "diag", "progress": False}
    here, there = (
        lapsi.score_network(module, samples, execution=Execution(verify=0, backend=backend), **how)
        for backend in ("local", "ray")
    )
    assert_same(there, here)
