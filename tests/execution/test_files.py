"""Files and run directories: whole or not at all, and never over what another process wrote."""

import errno
import itertools
import os
import sys
import threading

import pytest

import lapsi
from lapsi.execution import files
from lapsi.execution.files import write_file
from lapsi.results import run_directory
from runs_for_reports import make_scores


def writer(text):
    return lambda path: path.write_text(text)


def at_once(write, n=8):
    """Calls `write(number, barrier)` in n threads; returns how each ended."""
    barrier, ends = threading.Barrier(n, timeout=60), {}

    def work(number):
        try:
            write(number, barrier)
            ends[number] = None
        except Exception as error:
            ends[number] = error

    threads = [threading.Thread(target=work, args=(number,)) for number in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends


def test_of_many_writers_of_a_new_file_one_wins(tmp_path):
    path = tmp_path / "scores.csv"

    def write(number, barrier):
        write_file(path, lambda staged: (barrier.wait(), staged.write_text(str(number))), force=False)

    ends = at_once(write)
    (winner,) = [number for number, error in ends.items() if error is None]
    assert path.read_text() == str(winner)
    assert all(isinstance(error, lapsi.RunExistsError) for number, error in ends.items() if number != winner)
    assert [file.name for file in tmp_path.iterdir()] == ["scores.csv"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_came_in_the_meantime_stays(tmp_path, monkeypatch, links):
    def no_links(*_):
        raise PermissionError(errno.EPERM, "this file system has none")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "scores.csv"
    with pytest.raises(lapsi.RunExistsError, match="exists already.*--force"):
        write_file(path, lambda staged: (staged.write_text("mine"), path.write_text("theirs")), force=False)
    assert path.read_text() == "theirs"
    write_file(path, writer("mine"), force=True)
    write_file(tmp_path / "new.csv", writer("new"), force=False)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"scores.csv": "mine", "new.csv": "new"}


def test_of_files_that_belong_together_none_appears_where_one_cannot(tmp_path):
    pair = tmp_path / "log", tmp_path / "data"

    def write(log, data):
        log.write_text("mine")
        data.write_text("mine")
        pair[1].write_text("theirs")

    with pytest.raises(lapsi.RunExistsError, match="data exists already"):
        files.write_files(pair, write, force=False)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"data": "theirs"}


@pytest.mark.parametrize("force", [True, False])
def test_a_kill_never_leaves_new_data_beside_an_old_log(tmp_path, force):
    """Killed at every step that gives a file its name, the first of the files is at least as new as the second."""
    seen = set()
    for stop in itertools.count():
        folder = tmp_path / str(stop)
        folder.mkdir()
        pair = folder / "log", folder / "data"
        for path in pair if force else ():
            path.write_text("old")
        ended = in_a_child(
            stop, lambda pair=pair: files.write_files(pair, lambda *staged: [writer("new")(path) for path in staged], force)
        )
        state = tuple(path.read_text() if path.exists() else None for path in pair)
        seen.add(state)
        assert state != ("old", "new")
        assert state[1] != "new" or state[0] == "new"
        assert ended in (0, 9)
        if ended == 0:
            break
    before = "old" if force else None
    assert seen == {(before, before), ("new", before), ("new", "new")}


def in_a_child(stop, work):
    """The exit status of a process that is gone at its call number `stop` of a function that names files."""
    child = os.fork()
    if child == 0:
        calls = itertools.count()

        def gone_at_stop(real):
            return lambda *arguments: os._exit(9) if next(calls) == stop else real(*arguments)

        for name in ("replace", "rename", "link"):
            setattr(os, name, gone_at_stop(getattr(os, name)))
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux lets two folders change places")
def test_a_kill_never_takes_a_run_away(tmp_path):
    """Killed at every step that gives something its name, the path holds the whole old run or the whole new one."""
    new = make_scores(20)
    make_scores(12).save(tmp_path / "run")
    for stop in itertools.count():
        ended = in_a_child(stop, lambda: new.save(tmp_path / "run", force=True))
        assert ended in (0, 9)
        assert len(lapsi.load_run(tmp_path / "run")) == (12 if ended else 20)
        if ended == 0:
            break


def test_a_run_is_replaced_where_folders_cannot_change_places(tmp_path, monkeypatch):
    monkeypatch.setattr(run_directory, "exchange", lambda *_: False)
    for n in (12, 20):
        make_scores(n).save(tmp_path / "run", force=True)
        assert len(lapsi.load_run(tmp_path / "run")) == n
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_only_what_is_there_changes_places(tmp_path):
    (tmp_path / "a").write_text("a")
    assert not files.exchange(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b").mkdir()
    if files.exchange(tmp_path / "a", tmp_path / "b"):
        assert (tmp_path / "b").read_text() == "a"
        assert (tmp_path / "a").is_dir()


def test_a_run_that_came_after_the_check_stays(tmp_path, monkeypatch):
    scores = make_scores(12)
    scores.save(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    monkeypatch.setattr(run_directory, "require_free", lambda *_: None)  # as it stood a moment before
    with pytest.raises(lapsi.RunExistsError, match="written by another process in the meantime"):
        make_scores(20).save(tmp_path / "run")
    assert len(lapsi.load_run(tmp_path / "run")) == 12
    make_scores(20).save(tmp_path / "empty")
    make_scores(20).save(tmp_path / "run", force=True)
    assert len(lapsi.load_run(tmp_path / "run")) == len(lapsi.load_run(tmp_path / "empty")) == 20
    assert sorted(file.name for file in tmp_path.iterdir()) == ["empty", "run"]


def test_of_many_writers_of_a_run_one_wins(tmp_path):
    def write(number, barrier):
        make_scores(12, seed=number).save(tmp_path / "run", beside=lambda _: barrier.wait())

    ends = at_once(write, 4)
    (winner,) = [number for number, error in ends.items() if error is None]
    assert all(isinstance(error, lapsi.RunExistsError) for number, error in ends.items() if number != winner)
    assert lapsi.load_run(tmp_path / "run").provenance.data_hash == f"{winner:032x}"
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_run_that_is_in_place_is_written(tmp_path, monkeypatch):
    """Some file systems cannot flush a directory; the run lies there all the same."""
    flush = os.fsync

    def refuse(handle):
        if os.path.samestat(os.fstat(handle), tmp_path.stat()):
            raise OSError(errno.EINVAL, "a directory cannot be flushed")
        flush(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    make_scores(12).save(tmp_path / "run")
    assert len(lapsi.load_run(tmp_path / "run")) == 12
