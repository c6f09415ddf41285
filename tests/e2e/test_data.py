"""Real and rendered folders in the layouts that people have."""

from __future__ import annotations

import shutil

import pytest
from conftest import make_images
from e2e_tools import REPO, records

SHARED = REPO.parent / "shared" / "real"


def test_dtd_with_real_images(shell, tmp_path):
    if not (SHARED / "images" / "dtd").is_dir():
        pytest.skip(f"{SHARED}/images/dtd is not here: no real images to try")
    done = shell("bash scripts/simnl/main.sh dtd 16", DATA=SHARED / "images", BACKBONE="tiny", SEEDS="1")
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path / "output")
    assert (record["num_classes"], record["num_test"], record["num_val"]) == (10, 360, 40)
    assert record["prompts"] == ["negative", "template"]  # no CuPL file there, and the log says so
    assert "templates alone" in next((tmp_path / "output").rglob("log.txt")).read_text()
    assert record["accuracy"] > 11  # chance is 10: the tiny CLIP knows nothing of photographs
    cupl = SHARED / "cupl" / "CuPL_prompts_dtd.json"
    done = shell(
        f"bash scripts/simnl/main.sh dtd 1 PROMPTS.CUPL {cupl}", DATA=SHARED / "images", BACKBONE="tiny", SEEDS="1"
    )
    assert done.returncode == 0, done.stderr
    assert {"cupl"} <= set(next(r for r in records(tmp_path / "output") if r["shots"] == 1)["prompts"])


def make_imagenet(root, classes=4, train=7, val=3):
    """ImageNet's layout, a few classes of rendered images."""
    names = []
    for c in range(classes):
        wnid = f"n0000000{c}"
        names.append(f"{wnid} thing {c}")
        for part, count in (("train", train), ("val", val)):
            folder = root / "imagenet" / "images" / part / wnid
            for i, path in enumerate(make_images(tmp := root / "tmp" / f"{part}{c}", count, size=30 + c)):
                folder.mkdir(parents=True, exist_ok=True)
                shutil.move(path, folder / f"{wnid}_{i}.JPEG")
            shutil.rmtree(tmp)
    (root / "imagenet" / "classnames.txt").write_text("\n".join(names) + "\n")


@pytest.mark.parametrize(("shots", "num_train", "num_val"), [(2, 8, 8), (16, 28, 0)])
def test_imagenet_layout(shell, tmp_path, shots, num_train, num_val):
    """Validation images come from the training images that the draw left; with none left nothing is selected."""
    make_imagenet(tmp_path / "data")
    done = shell(f"bash scripts/simnl/main.sh imagenet {shots}", DATA=tmp_path / "data", BACKBONE="tiny", SEEDS="1")
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path / "output")
    assert (record["num_train"], record["num_val"], record["num_test"]) == (num_train, num_val, 12)
    assert ("nothing is selected" in done.stderr) == (num_val == 0)
    assert not list((tmp_path / "data").rglob("*.json"))  # nothing is written into the data root
    refused = shell(
        "bash scripts/simnl/main.sh imagenet 2", DATA=tmp_path / "data", BACKBONE="tiny", PROTOCOL="full-val"
    )
    assert refused.returncode == 1
    assert "no validation split of its own" in refused.stderr


def test_your_own_images(shell, tmp_path):
    for c, name in enumerate(("cat", "dog", "big_bird")):
        make_images(tmp_path / "mine" / name, 10, size=30 + c)
    command = "bash scripts/simnl/main.sh imagefolder 2 DATASET.FOLDER {}"
    done = shell(command.format(tmp_path / "mine"), SEEDS="1", BACKBONE="tiny")
    assert done.returncode == 0, done.stderr
    (record,) = records(tmp_path / "output")
    assert (record["num_classes"], record["num_train"], record["num_test"]) == (3, 6, 9)
    missing = shell(command.format(tmp_path / "nothing"), BACKBONE="tiny")
    assert missing.returncode == 1
    assert "nothing" in missing.stderr
