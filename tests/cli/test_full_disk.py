"""A disk that is full, before a run, in its middle and at its end: one line, nothing lost, nothing half, the same rows."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import lapsi
from commands import fail, run
from lapsi.cli import score
from lapsi.engines.evaluate import LeaveOut
from lapsi.execution import disk
from lapsi.execution.checkpoint import Checkpoint
from lapsi.execution.files import write_file

OPTIONS = ["--engine", "retrain", "--epochs", "30", "--seeds", "4", "--verify", "0", "--quiet"]
SIZE = 2 * 2**20


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    rng = np.random.default_rng(0)
    y = np.arange(240) % 3
    path = tmp_path_factory.mktemp("data") / "features.npz"
    np.savez(path, features=rng.normal(size=(240, 5)) + 2 * np.eye(3, 5)[y], labels=y)
    return path


@pytest.fixture(scope="module")
def undisturbed(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    assert run("score", source, "-o", path, *OPTIONS).returncode == 0
    return path


@pytest.fixture
def small(tmp_path):
    """A file system of its own, of 2 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    if not sys.platform.startswith("linux") or mount is None or os.geteuid() != 0:
        pytest.skip("only root of a Linux system mounts a file system")
    if subprocess.run([mount, *options], capture_output=True, check=False).returncode:
        pytest.skip("this container may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder):
    """Another program takes what is free."""
    with pytest.raises(OSError, match="No space left"):
        fill_whole(folder / "other")


def fill_whole(path):
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


def names(folder):
    return sorted(file.name for file in folder.iterdir())


def parts_of(run):
    return {file.name: file.stat().st_mtime_ns for file in run.with_name("run.partial").glob("*.npz")}


def full_after(monkeypatch, n_parts, act):
    """Does `act` after a number of parts was kept."""
    kept, save = [], Checkpoint.save

    def then(self, name, arrays):
        save(self, name, arrays)
        kept.append(name)
        if len(kept) == n_parts:
            act()

    monkeypatch.setattr(Checkpoint, "save", then)
    return kept


def require_whole_after_resume(path, undisturbed, kept, monkeypatch):
    """Goes on, does no part of `kept` again, and ends with the rows of a run that nothing disturbed."""
    done, measured = [], LeaveOut.measured

    def counted(self, part, advance):
        done.append(f"{part.name}.npz")
        return measured(self, part, advance)

    monkeypatch.setattr(LeaveOut, "measured", counted)
    result = run("score", "--resume", path, "--quiet")
    assert result.returncode == 0, result.stderr
    assert not set(done) & set(kept)
    for file in ("scores.parquet", "loo_proba.npy", "map.npy"):
        assert (path / file).read_bytes() == (undisturbed / file).read_bytes()
    assert not path.with_name("run.partial").exists()
    return done


@pytest.mark.slow
def test_a_disk_that_fills_in_the_middle_loses_no_part(source, undisturbed, small, monkeypatch):
    path = small / "run"
    with monkeypatch.context() as patched:
        full_after(patched, 2, lambda: fill(small))
        line = fail(2, "score", source, "-o", path, *OPTIONS)
    assert "part00000.npz was not written: the disk of" in line
    assert "is full (0 bytes free). Free some space. Finished parts are kept; then go on with:" in line
    assert line.endswith(f"lapsi score --resume {path}")
    assert names(small) == ["other", "run.partial"]
    kept = parts_of(path)
    assert len(kept) == 2
    assert names(path.with_name("run.partial")) == sorted([".lock", "progress.json", *kept])
    refused = fail(2, "score", "--resume", path, "--quiet")
    assert "need about" in refused
    assert "0 bytes free" in refused
    assert parts_of(path) == kept
    (small / "other").unlink()
    assert len(require_whole_after_resume(path, undisturbed, kept, monkeypatch)) == 2
    assert names(small) == ["run"]


@pytest.mark.slow
@pytest.mark.parametrize("left", [0, 8192])
def test_a_disk_that_fills_at_the_end_loses_no_part(source, undisturbed, small, monkeypatch, left):
    """`left`: bytes that are free: too few for the picture, and for the array that NumPy writes, which tells no reason."""
    path = small / "run"

    def before(*_):
        fill(small)
        if left > 0:
            with (small / "other").open("r+b") as file:
                file.truncate(file.seek(0, 2) - left)

    with monkeypatch.context() as patched:
        patched.setattr(score, "save_overview", before)
        if left > 0:
            patched.setattr("pandas.DataFrame.to_parquet", lambda *_, **__: None)
            patched.setattr(np, "save", lambda path, array, **_: np.ones(2**20).tofile(path))
        line = fail(2, "score", source, "-o", path, *OPTIONS)
    assert f"{path} was not written: the disk of {small} is full" in line
    assert f"go on with: lapsi score --resume {path}" in line
    assert names(small) == ["other", "run.partial"]
    kept = parts_of(path)
    assert len(kept) == 4
    (small / "other").unlink()
    assert require_whole_after_resume(path, undisturbed, kept, monkeypatch) == []


@pytest.mark.slow
def test_a_part_that_finds_no_room_leaves_nothing_half(source, undisturbed, tmp_path, monkeypatch):
    """The same where no file system can be mounted: the third part is written in half."""
    path, whole, written = tmp_path / "run", np.savez, []

    def half(file, **arrays):
        written.append(file)
        if len(written) == 3:
            Path(file).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(file, **arrays)

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", half)
        line = fail(2, "score", source, "-o", path, *OPTIONS)
    assert "seed2-part00000.npz was not written" in line
    assert names(tmp_path) == ["run.partial"]
    kept = parts_of(path)
    assert sorted(kept) == ["seed0-part00000.npz", "seed1-part00000.npz"]
    assert names(path.with_name("run.partial")) == sorted([".lock", "progress.json", *kept])
    assert len(require_whole_after_resume(path, undisturbed, kept, monkeypatch)) == 2


def test_a_run_that_will_not_fit_is_refused_before_it_starts(source, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    line = fail(2, "score", source, "-o", tmp_path / "run", *OPTIONS)
    assert "The finished parts of this run, and the run itself, need about" in line
    assert "has 9.8 KiB free. Free some space, or choose another place." in line
    assert names(tmp_path) == []
    with np.load(source) as data, pytest.raises(lapsi.DiskFullError, match=r"The finished parts of this run need about .* KiB"):
        lapsi.score(data["features"], data["labels"], checkpoint=tmp_path / "parts", progress=False)
    assert names(tmp_path) == []


@pytest.mark.slow
def test_what_a_run_is_said_to_write_is_what_it_writes(source, tmp_path, monkeypatch):
    """Within a half of it from above: what is refused for want of room would not have fitted by far."""
    sizes = {}
    clear = score._clear_away

    def measured(run):
        sizes["kept_bytes"] = sum(file.stat().st_size for file in run.with_name("run.partial").glob("*.npz"))
        clear(run)

    monkeypatch.setattr(score, "_clear_away", measured)
    for options in (OPTIONS[:-1], ["--verify", "0"], ["--engine", "local", "--verify", "0"]):
        told = told_bytes(source, options)
        path = tmp_path / options[1]
        assert run("score", source, "-o", path, *options, "--quiet").returncode == 0
        sizes["run_bytes"] = sum(file.stat().st_size for file in path.iterdir())
        for name, size in sizes.items():
            assert size <= told[name] <= 1.5 * size + disk.NEARLY_NOTHING, (options, name)


def told_bytes(source, options):
    return json.loads(run("score", source, "--dry-run", "--json", *options).stdout)


def test_only_a_full_disk_is_told_as_one(tmp_path):
    def refused(_):
        raise PermissionError(errno.EACCES, "not allowed")

    with pytest.raises(PermissionError):
        write_file(tmp_path / "a", refused, force=False)
    assert names(tmp_path) == []


def test_sizes_are_told_in_the_unit_that_fits():
    assert [disk.in_words(size) for size in (0, 1023, 1024, 3 * 2**19, 5 * 2**30)] == [
        "0 bytes",
        "1023 bytes",
        "1.0 KiB",
        "1.5 MiB",
        "5.0 GiB",
    ]
