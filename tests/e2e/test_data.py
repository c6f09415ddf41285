"""Real and rendered folders in the layouts that people have."""

from __future__ import annotations

import shutil

import pytest

from helpers.e2e_tools import REPO, records
from helpers.images import make_images

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


def test_imagenet_has_no_validation_split_of_its_own(shell, tmp_path):
    make_imagenet(tmp_path / "data")
    place = {"DATA": tmp_path / "data", "BACKBONE": "tiny", "PROTOCOL": "full-val"}
    refused = shell("bash scripts/simnl/main.sh imagenet 2", **place)
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


def test_shifted_data_sets(shell, tmp_path):
    """What a head gives on a target equals what the same classifier, built for the target alone, gives there."""
    small = "OPTIM.MAX_EPOCH 2 TRAINER.SIMNL.GRID.BETA '[0, 20, 4]'"
    trained = shell(f"bash scripts/simnl/dg.sh shapes 2 {small}", SEEDS="1")
    assert trained.returncode == 0, trained.stderr
    plain = records(tmp_path / "output")[0]
    again = shell(f"bash scripts/simnl/main.sh shapes 2 {small}", SEEDS="1")
    assert "done before, skipped" in again.stdout  # the same run, which needs no targets
    one = shell(f"bash scripts/simnl/main.sh shapes 2 {small}", SEEDS="2")
    more = shell(f"bash scripts/simnl/dg.sh shapes 2 {small}", SEEDS="2")  # targets of a finished run
    assert one.returncode == more.returncode == 0, more.stderr
    (first, second) = records(tmp_path / "output")
    assert first == plain
    assert set(second["targets"]) == set(plain["targets"])
    assert second["config_hash"] == plain["config_hash"]
    zero = shell("bash scripts/zeroshot/dg.sh shapes 2", SEEDS="1")
    assert zero.returncode == 0, zero.stderr
    by_method = {r["method"]: r for r in records(tmp_path / "output")}
    variants = {"shapes_outline", "shapes_inverted", "shapes_noise"}
    assert set(by_method["SimNL"]["targets"]) == set(by_method["ZeroshotCLIP"]["targets"]) == variants
    assert "shapes -> shapes_outline" in zero.stdout
    alone = shell("bash scripts/zeroshot/main.sh shapes_outline 2", SEEDS="1", OUTPUT=tmp_path / "alone")
    assert alone.returncode == 0, alone.stderr
    assert records(tmp_path / "alone")[0]["accuracy"] == by_method["ZeroshotCLIP"]["targets"]["shapes_outline"]
    refused = shell("bash scripts/simnl/main.sh shapes_outline 2")
    assert refused.returncode == 1
    assert "the data set has only test images" in refused.stderr
    none = shell("bash scripts/simnl/dg.sh dtd 2")
    assert none.returncode == 1
    assert "no shifted variants" in none.stderr


def test_a_target_with_some_of_the_classes(shell, tmp_path):
    """As ImageNet-A and -R: the logits of the target's classes, by WordNet id, out of all."""
    make_imagenet(tmp_path / "data")
    for c in (1, 3):
        folder = tmp_path / "data" / "imagenet-adversarial" / "imagenet-a" / f"n0000000{c}"
        shutil.copytree(tmp_path / "data" / "imagenet" / "images" / "val" / f"n0000000{c}", folder)
    shutil.copy(tmp_path / "data" / "imagenet" / "classnames.txt", tmp_path / "data" / "imagenet-adversarial")
    place = {"DATA": tmp_path / "data", "BACKBONE": "tiny", "SEEDS": "1"}
    both = shell("bash scripts/zeroshot/dg.sh imagenet 2", TARGETS="imagenet_a", **place)
    assert both.returncode == 0, both.stderr
    alone = shell("bash scripts/zeroshot/main.sh imagenet_a 2", OUTPUT=tmp_path / "alone", **place)
    assert alone.returncode == 0, alone.stderr
    (source,), (target,) = records(tmp_path / "output"), records(tmp_path / "alone")
    assert (source["num_classes"], target["num_classes"]) == (4, 2)
    assert source["targets"]["imagenet_a"] == target["accuracy"]
