"""CACHE where nothing can be written: a warm one is read, anything else is told with what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from helpers.images import make_images
from helpers.stores import plain, store_at
from simnl.data.digests import FileDigests
from simnl.files import make_cache
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from simnl.runs.run import run_one


@pytest.fixture
def read_only() -> Iterator[Callable[[Path], None]]:
    """A function that makes a folder read-only, as a disk that is mounted so; root is not bound by permissions."""
    mounted: list[Path] = []

    def set_modes(folder: Path, of_folders: int, of_files: int) -> None:
        for path in (folder, *folder.rglob("*")):
            path.chmod(of_folders if path.is_dir() else of_files)

    def make(folder: Path) -> None:
        mounted.append(folder)
        if os.geteuid():
            set_modes(folder, 0o555, 0o444)
        elif not (_mount("--bind", folder, folder) and _mount("-o", "remount,bind,ro", folder)):
            pytest.skip("root that may not mount: a read-only disk cannot be had here")

    yield make
    for folder in mounted:
        if os.geteuid():
            set_modes(folder, 0o755, 0o644)
        else:
            subprocess.run(["umount", folder], capture_output=True, check=False)


def _mount(*arguments: str | Path) -> bool:
    if not shutil.which("mount"):
        return False
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_warm_store_is_read(tmp_path, vit, image_files, read_only):
    root = tmp_path / "store"
    first = store_at(root, vit)
    images, texts = first.images(image_files, plain(vit)), first.texts(["a cat", "a dog"])
    before = names(root)
    read_only(root)
    again = store_at(root, vit)
    assert torch.equal(again.images(image_files, plain(vit)), images)
    assert torch.equal(again.texts(["a cat", "a dog"]), texts)
    assert again.encoded_images == 0
    assert names(root) == before


def test_what_is_missing_is_told(tmp_path, vit, image_files, read_only):
    root = tmp_path / "store"
    store_at(root, vit).images(image_files[:5], plain(vit))
    read_only(root)
    store = store_at(root, vit)
    with pytest.raises(OSError, match="7 features are missing in .*sqlite, which cannot be written .*Set CACHE"):
        store.images(image_files, plain(vit))
    with pytest.raises(OSError, match="Cannot open the feature store .*Set CACHE to a folder that you can write to"):
        store.texts(["a cat"])


def test_contents_are_read_where_no_digest_can_be_kept(tmp_path, image_files, read_only):
    root = tmp_path / "store"
    digests = FileDigests(root).of(image_files)
    FileDigests(tmp_path / "other").of(image_files[:3])
    (tmp_path / "none").mkdir()
    for place in (tmp_path / "other", tmp_path / "none"):
        shutil.copytree(place, root / place.name)
    read_only(root)
    for place in (root, root / "other", root / "none"):
        assert FileDigests(place).of(image_files) == digests


def run(folder: Path, images: Path, seed: int = 1, **more) -> dict:
    settings = {
        "TRAINER.NAME": "TipAdapter", "DATASET.FOLDER": str(images), "DATASET.NUM_SHOTS": 2, "SEED": seed,
        "OUTPUT_DIR": str(folder / f"run{seed}"), "STORE.ROOT": str(folder / "store"), "DATALOADER.NUM_WORKERS": 0,
        "VERBOSE": False, "VIEWS.CACHE": 2, **more,
    }  # fmt: skip
    return run_one(
        assemble([CONFIGS / "datasets" / "imagefolder.yaml", CONFIGS / "trainers" / "TipAdapter.yaml"], (), settings)
    )


def test_a_run_on_a_warm_cache(tmp_path, read_only):
    for name in ("cat", "dog"):
        make_images(tmp_path / "mine" / name, 10)
    first = run(tmp_path, tmp_path / "mine")
    read_only(tmp_path / "store")
    shutil.rmtree(tmp_path / "run1")
    assert run(tmp_path, tmp_path / "mine")["accuracy"] == first["accuracy"]
    with pytest.raises(OSError, match="features are missing in .*Set CACHE"):
        run(tmp_path, tmp_path / "mine", seed=2)
    assert not list((tmp_path / "run2").rglob("result.json"))


@pytest.mark.parametrize("place", ["/proc/1/nope/simnl", "/dev/null", "/dev/null/simnl", "~nobody-here/simnl"])
def test_a_cache_that_cannot_be_made_says_to_set_cache(tmp_path, place):
    for attempt in (lambda: make_cache(place), lambda: run(tmp_path, tmp_path, **{"STORE.ROOT": place})):
        with pytest.raises(OSError, match=f"The cache folder {place} cannot be made .*: set CACHE"):
            attempt()
