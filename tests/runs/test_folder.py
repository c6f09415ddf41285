"""A run's folder: what is in the way is told before the run, one process holds it, and killed ones' files go."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import train
from filelock import FileLock

from dassl.utils.tools import atomic_write
from simnl.files import HOUR, remove_left_overs, replacing, write_text_atomically
from simnl.locations import CONFIGS
from simnl.runs.folder import LOCK, check_folder, claimed
from simnl.studies import executor
from simnl.studies.cells import Cell, Plan, Setup, build_cells

A_FILE_BELONGS = [
    "result.json", "head.safetensors", "config.yaml", "selection.json", "sweep.json", "log.txt", "run.json", ".lock",
    "best-epoch2.safetensors", "head/checkpoint", "head/model.pth.tar-2", "held_shot.json", "division.json",
]  # fmt: skip
A_FOLDER_BELONGS = ["tensorboard", "head", "sweep", "held-shot"]


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nothing/at/all")


def two_links_in_a_ring(path: Path) -> None:
    other = path.with_name("other")
    path.symlink_to(other.name)
    other.symlink_to(path.name)


ODD = {
    "is a link that leads to itself": link_to_itself,
    "is a link that leads nowhere": link_to_nothing,
    "is not a regular file": os.mkfifo,
}


@pytest.mark.parametrize("name", A_FILE_BELONGS)
@pytest.mark.parametrize("kind", ["is a folder", *ODD])
def test_what_lies_where_a_file_belongs_is_told(tmp_path, name, kind):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    ODD.get(kind, Path.mkdir)(path)
    with pytest.raises(OSError, match=f"^{path} {kind}, but the run writes a file there. Move it away and run again.$"):
        check_folder(tmp_path / "run")


@pytest.mark.parametrize("name", A_FOLDER_BELONGS)
@pytest.mark.parametrize("kind", ["is a file", *ODD])
def test_what_lies_where_a_folder_belongs_is_told(tmp_path, name, kind):
    ODD.get(kind, Path.touch)(tmp_path / name)
    with pytest.raises(OSError, match=f"^{tmp_path / name} {kind}, but the run writes a folder there. Move"):
        check_folder(tmp_path)


@pytest.mark.parametrize("kind", ["is a file", *ODD])
@pytest.mark.parametrize("below", ["", "seed1", "a/b/seed1"])
def test_what_lies_where_the_folder_or_one_above_it_belongs_is_told(tmp_path, kind, below):
    path = tmp_path / "output"
    ODD.get(kind, Path.touch)(path)
    with pytest.raises(NotADirectoryError, match=f"^{path} {kind}, so the run's folder .* cannot be made. .*OUTPUT"):
        check_folder(path / below)


def test_links_that_form_a_ring_are_told(tmp_path):
    two_links_in_a_ring(tmp_path / "result.json")
    with pytest.raises(OSError, match="leads to itself"):
        check_folder(tmp_path)


def test_links_to_files_and_folders_are_fine(tmp_path):
    elsewhere, run = tmp_path / "elsewhere", tmp_path / "link"
    elsewhere.mkdir()
    (elsewhere / "kept.txt").write_text("")
    run.symlink_to(elsewhere)
    (run / "tensorboard").symlink_to(elsewhere)
    (run / "selection.json").symlink_to("kept.txt")
    check_folder(run)
    check_folder(tmp_path / "not" / "there" / "yet")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match=f"{tmp_path} may not be written"):
            check_folder(tmp_path / "run")
    finally:
        tmp_path.chmod(0o700)


def test_a_file_system_that_takes_no_folders_is_told(tmp_path, monkeypatch):
    def refuse(path, **options):
        raise OSError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    message = rf"^The run's folder {tmp_path}/run cannot be made \(No such file or directory\): choose another folder"
    with pytest.raises(OSError, match=message), claimed(tmp_path / "run", wait=True):
        pass


def test_a_tool_tells_it_before_it_loads_anything(tmp_path, monkeypatch, capsys):
    (tmp_path / "run" / "result.json").mkdir(parents=True)
    words = ["train.py", "--trainer", "ZeroshotCLIP", "--output-dir", str(tmp_path / "run"), "--dataset-config-file"]
    words += [str(CONFIGS / "datasets" / "shapes.yaml"), "STORE.ROOT", str(tmp_path / "cache")]
    monkeypatch.setattr(sys, "argv", words)
    assert train.main() == 1
    told = "is a folder, but the run writes a file there. Move it away and run again."
    assert capsys.readouterr().err.strip() == f"Error: {tmp_path / 'run' / 'result.json'} {told}"
    assert not (tmp_path / "cache").exists()


@pytest.fixture
def cell(tmp_path) -> Cell:
    setup = Setup(data=str(tmp_path / "data"), output=str(tmp_path / "output"), cache=str(tmp_path / "cache"))
    (found,) = build_cells(setup, [Plan("ZeroshotCLIP", "shapes", 1)], [1])
    return found


def test_in_a_benchmark_the_other_cells_go_on(cell, monkeypatch):
    monkeypatch.setattr(executor, "execute", lambda cfg: pytest.fail("it was run"))
    shutil.rmtree(cell.folder, ignore_errors=True)
    Path(cell.folder).parent.mkdir(parents=True, exist_ok=True)
    Path(cell.folder).touch()
    outcome = executor.attempt(cell)
    assert outcome["state"] == "failed"
    assert "is a file, so the run's folder" in outcome["error"]


# ---------------------------------------------------------------------- the lock, and what killed processes leave


def write_and_die(one: Path, other: Path) -> None:
    with replacing(one) as file, atomic_write(str(other)) as stream:
        file.write_text("half of it")
        stream.write(b"half of it")
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_left_goes_with_the_next_run(tmp_path):
    run = tmp_path / "run"
    files = run / "result.json", run / "head" / "model.pth.tar-1"
    process = multiprocessing.get_context("fork").Process(target=write_and_die, args=files)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = sorted(run.rglob("*.tmp"))
    assert len(left) == 2, left
    (run / "sweep" / "3" / "head").mkdir(parents=True)
    (run / "sweep" / "3" / "head" / ".checkpoint.123.tmp").touch()
    (run / ".tmpAb3xYz").touch()  # of safetensors
    (run / ".mine.tmp").touch()
    (run / "notes.tmp").touch()
    with claimed(run, wait=False) as mine:
        assert mine
        assert sorted(path.name for path in run.rglob("*.tmp")) == [".mine.tmp", "notes.tmp"]
        assert not (run / ".tmpAb3xYz").exists()


def test_nothing_goes_while_another_process_holds_the_folder(tmp_path):
    left = tmp_path / f".result.json.{32 * 'a'}.tmp"
    left.touch()
    with FileLock(tmp_path / LOCK, thread_local=False), claimed(tmp_path, wait=False) as mine:
        assert not mine
        assert left.exists()


def test_whoever_waits_says_so(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("simnl.waiting.FIRST_WORD", 0.1)
    held = threading.Event()

    def other():
        with FileLock(tmp_path / LOCK):
            held.set()
            end = time.monotonic() + 30
            while "Waiting" not in caplog.text and time.monotonic() < end:
                time.sleep(0.01)

    thread = threading.Thread(target=other)
    thread.start()
    assert held.wait(30)
    with claimed(tmp_path, wait=True) as mine:
        assert mine
    thread.join()
    assert f"Waiting for another process, which carries out the run in {tmp_path}" in caplog.text


def test_in_folders_without_a_lock_files_of_living_processes_stay(tmp_path):
    old, new = tmp_path / f".a.json.{32 * '0'}.tmp", tmp_path / f".a.json.{32 * '1'}.tmp"
    for path in (old, new):
        path.touch()
    (tmp_path / f".link.{32 * '0'}.tmp").symlink_to(new)
    os.utime(old, (time.time() - 2 * HOUR,) * 2)
    assert remove_left_overs(tmp_path, older_than=HOUR) == [old]
    assert new.exists()
    assert remove_left_overs(tmp_path / "none") == []


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_files_follow_umask_whoever_writes_them(tmp_path, umask, mode):
    from torch import nn

    from simnl.fewshot.checkpoint import save_head

    before = os.umask(umask)
    try:
        save_head(tmp_path / "head.safetensors", nn.Linear(1, 1), {})
        write_text_atomically(tmp_path / "a.json", "{}")
        with replacing(tmp_path / "b") as temporary:
            temporary.write_bytes(b"")
            temporary.chmod(0o600)
    finally:
        os.umask(before)
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()} == dict.fromkeys(
        ("head.safetensors", "a.json", "b"), oct(mode)
    )
