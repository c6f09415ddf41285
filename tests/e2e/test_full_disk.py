"""A disk that is full, or has no free inode, ends a run with one sentence, whatever is written when it happens."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from helpers.images import make_images

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Images of two classes; the cache beside them is on a disk with room."""
    root = tmp_path_factory.mktemp("data")
    for number, name in enumerate(("cat", "dog")):
        make_images(root / "images" / name, 10, size=16 + number)
    return root


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a disk in memory; skips where that is not allowed."""
    mounted = []

    def mount(options: str) -> Path:
        folder = tmp_path / "disk"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no program `mount`")
        if done.returncode:
            pytest.skip(f"no disk can be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


# Full when TensorBoard's thread writes, when a checkpoint is written, and when there is no room for bytes.
@pytest.mark.parametrize("options", ["nr_inodes=7,size=20m", "nr_inodes=11,size=20m", "size=32k"])
def test_one_sentence_and_nothing_of_threads(data, small_disk, python, options):
    disk = small_disk(options)
    command = [str(python), "tools/train.py", "--trainer", "CLIPAdapter", "--output-dir", str(disk / "run")]
    command += ["--dataset-config-file", "configs/datasets/imagefolder.yaml", "DATASET.FOLDER", str(data / "images")]
    command += ["STORE.ROOT", str(data / "cache"), "DATASET.NUM_SHOTS", "2", "OPTIM.MAX_EPOCH", "2", "SWEEP", "[]"]
    command += ["VERBOSE", "False", "TRAIN.CHECKPOINT_FREQ", "1"]
    environment = {key: value for key, value in os.environ.items() if key != "DEBUG"}
    done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1, done.stderr
    (line,) = (line for line in done.stderr.splitlines() if "Error" in line)
    assert line.startswith("Error: ")
    assert "No space left on device" in line
    assert str(disk) in line
    assert "run the same command again" in line
    assert "Traceback" not in done.stderr
    assert "Exception in thread" not in done.stderr
    assert not list(disk.rglob(".*tmp*"))
