"""ImageNet and its variants: labels by WordNet id, doubled names, subsets, class indices."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

IDS = ["n01440764", "n01443537", "n03773504", "n04008634"]  # tench, goldfish, missile, missile


def test_doubled_names_stay_two_classes(build, load):
    build("ImageNet")
    data = load("ImageNet")
    assert data.classnames == ["tench", "goldfish", "missile", "missile"]
    assert {Path(d.impath).parent.name: d.label for d in data.test} == {wnid: n for n, wnid in enumerate(IDS)}


def test_validation_images_come_from_the_rest(build, load):
    build("ImageNet")
    for shots, left in ((1, 1), (2, 2), (3, 3), (4, 2), (5, 1), (6, 0), (16, 0)):
        data = load("ImageNet", NUM_SHOTS=shots)
        drawn = {d.impath for d in data.train_x}
        val = data.val or []
        assert len(drawn) == 4 * min(shots, 6)
        assert [sum(d.label == label for d in val) for label in range(4)] == [left] * 4
        assert drawn.isdisjoint(d.impath for d in val)
        assert all("/images/train/" in d.impath for d in val)
    assert data.val is None
    assert load("ImageNet", NUM_SHOTS=-1).val is None


def test_class_without_images_left(build, load):
    built = build("ImageNet")
    for path in sorted((built.images / "train" / IDS[0]).iterdir())[2:]:
        path.unlink()
    data = load("ImageNet", NUM_SHOTS=2)
    assert [sum(d.label == label for d in data.val) for label in range(4)] == [0, 2, 2, 2]


def test_subset_of_the_classes(build, load):
    built = build("ImageNet")
    for part in ("train", "val"):
        shutil.rmtree(built.images / part / IDS[0])
    assert load("ImageNet").classnames == ["goldfish", "missile", "missile"]


def test_class_folders_must_agree(build, load):
    built = build("ImageNet")
    shutil.rmtree(built.images / "val" / IDS[0])
    with pytest.raises(ValueError, match=f"same class folders; in one only: {IDS[0]}"):
        load("ImageNet")


def test_validation_images_in_one_folder(build, load):
    built = build("ImageNet")
    for path in list((built.images / "val").rglob("*.JPEG")):
        path.rename(built.images / "val" / path.name)
    for path in list((built.images / "val").iterdir()):
        if path.is_dir():
            path.rmdir()
    with pytest.raises(FileNotFoundError, match="no class folder in .*images/val .*n01440764_0.JPEG"):
        load("ImageNet")


def test_missing_train_folder(build, load):
    built = build("ImageNet")
    shutil.rmtree(built.images / "train")
    with pytest.raises(FileNotFoundError, match="no folder .*images/train") as error:
        load("ImageNet")
    assert "holds val/" in str(error.value)


def test_empty_class_folder(build, load):
    built = build("ImageNet")
    for path in (built.images / "train" / IDS[1]).iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match=f"no image is in the class folder .*{IDS[1]}"):
        load("ImageNet")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n01440764 tench\nn01443537\n", "line 2: the line must be `wnid name`"),
        ("n01440764 tench\nn01440764 tench\n", "line 2: n01440764 has a name already"),
        ("n01440764 tench\n", "does not name the class folder"),
        ("\n", "is empty"),
    ],
)
def test_broken_classnames(text, message, build, load):
    built = build("ImageNet")
    (built.folder / "classnames.txt").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        load("ImageNet")
    assert "classnames.txt" in str(error.value)


def test_classnames_not_utf8(build, load):
    built = build("ImageNet")
    (built.folder / "classnames.txt").write_bytes("n01440764 tanche \xe0 nez".encode("latin-1"))
    with pytest.raises(ValueError, match=r"classnames.txt is not UTF-8"):
        load("ImageNet")


def test_classnames_may_be_absent_for_all_1000_classes(build, load, root):
    built = build("ImageNet")
    (built.folder / "classnames.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no classnames.txt"):
        load("ImageNet")
    image = built.images / "val" / IDS[0] / f"{IDS[0]}_0.JPEG"
    for number in range(996):
        for part in ("train", "val"):
            folder = built.images / part / f"n9{number:07d}"
            folder.mkdir()
            os.link(image, folder / "a.JPEG")
    names = load("ImageNet", NUM_SHOTS=1).classnames
    assert len(names) == 1000
    assert (names[0], names[1], names[657], names[744]) == ("tench", "goldfish", "missile", "missile")

    variant = root / "imagenetv2" / "imagenetv2-matched-frequency-format-val"
    shutil.copytree(built.images / "val", variant, copy_function=os.link)
    for label, folder in enumerate(sorted(variant.iterdir())):
        folder.rename(variant / str(label))
    assert load("ImageNetV2").classnames == names
    shutil.rmtree(built.folder)
    data = load("ImageNetV2")
    assert data.classnames == names
    assert data.class_indices is None


def test_split_file_instead_of_folders(build, load, tmp_path):
    built = build("ImageNet")
    path = tmp_path / "split.json"
    path.write_text(json.dumps({"train": built.parts["train"], "test": built.parts["test"]}))
    data = load("ImageNet", SPLIT_FILE=str(path))
    assert [d.impath for d in data.train_x] == [d.impath for d in load("ImageNet").train_x]
    with pytest.raises(FileNotFoundError, match="no split file .*absent.json"):
        load("ImageNet", SPLIT_FILE=str(tmp_path / "absent.json"))


# ----------------------------------------------------------------------------------------- variants
def test_class_indices_count_the_training_folders(evaluated, build, load):
    build(evaluated)
    build("ImageNet")
    data = load(evaluated)
    source = load("ImageNet").classnames
    if evaluated in ("ImageNetA", "ImageNetR"):
        assert data.class_indices == [1, 3]
    else:
        assert data.class_indices is None
    indices = data.class_indices or range(4)
    assert data.classnames == [source[index] for index in indices]


def test_class_indices_from_the_names_file_alone(evaluated, build, load):
    build(evaluated)
    assert load(evaluated).class_indices == ([1, 3] if evaluated in ("ImageNetA", "ImageNetR") else None)


def test_names_file_of_imagenet_serves_too(evaluated, build, load):
    built = build(evaluated)
    imagenet = build("ImageNet")
    (built.folder / "classnames.txt").unlink()
    assert load(evaluated).num_classes in (2, 4)
    (imagenet.folder / "classnames.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no classnames.txt"):
        load(evaluated)


def test_variant_of_a_subset(evaluated, build, load):
    """ImageNet here has classes 1 and 3 of four; a variant keeps to these or says what is too much."""
    built = build(evaluated)
    imagenet = build("ImageNet")
    for part in ("train", "val"):
        for wnid in IDS[0::2]:
            shutil.rmtree(imagenet.images / part / wnid)
    if evaluated in ("ImageNetV2", "ImageNetSketch"):
        with pytest.raises(ValueError, match="n01440764, n03773504 are not among the 2 ImageNet classes"):
            load(evaluated)
        for label in (0, 2):
            shutil.rmtree(built.images / (str(label) if evaluated == "ImageNetV2" else IDS[label]))
    data = load(evaluated)
    assert data.classnames == ["goldfish", "missile"]
    assert data.class_indices is None
    assert [d.label for d in data.test] == [0, 0, 0, 1, 1, 1]


def test_variant_of_an_unknown_class(build, load):
    built = build("ImageNetA")
    (built.images / IDS[1]).rename(built.images / "n00000001")
    with pytest.raises(ValueError, match="does not name the class folder.* n00000001"):
        load("ImageNetA")


def test_v2_folders_sort_as_numbers(build, load):
    built = build("ImageNetV2")
    names = [f"n{number:08d} class {number}" for number in range(12)]
    (built.folder / "classnames.txt").write_text("\n".join(names))
    for number in range(4, 12):
        shutil.copytree(built.images / "0", built.images / str(number))
    data = load("ImageNetV2")
    assert data.classnames == [f"class {number}" for number in range(12)]
    assert all(Path(d.impath).parent.name == str(d.label) for d in data.test)
    (built.images / "12").mkdir()
    with pytest.raises(ValueError, match="format-val/12: only 12 ImageNet classes"):
        load("ImageNetV2")
    (built.images / "12").rename(built.images / "n01440764")
    with pytest.raises(ValueError, match="named by label"):
        load("ImageNetV2")


def test_variants_have_no_split_file(evaluated, build, load, tmp_path):
    build(evaluated)
    with pytest.raises(ValueError, match=r"Leave DATASET.SPLIT_FILE empty"):
        load(evaluated, SPLIT_FILE=str(tmp_path / "split.json"))


@pytest.mark.parametrize("name", ["imagenet_a", "imagenet_r"])
def test_real_class_indices(name, shared, load, root):
    """The 200 WordNet ids of ImageNet-A and -R, placed in the real list of 1000."""
    real = json.loads((shared / "real" / "imagenet_a_r_classes.json").read_text())[name]
    registry = {"imagenet_a": "ImageNetA", "imagenet_r": "ImageNetR"}[name]
    folder, images = {
        "imagenet_a": ("imagenet-adversarial", "imagenet-a"),
        "imagenet_r": ("imagenet-rendition", "imagenet-r"),
    }[name]
    for wnid in real["wnids"]:
        (root / folder / images / wnid).mkdir(parents=True)
        (root / folder / images / wnid / "a.jpg").write_bytes(b"")
    shutil.copy(shared / "real" / "images" / "imagenet" / "classnames.txt", root / folder)
    assert load(registry).class_indices == real["imagenet_indices"]
