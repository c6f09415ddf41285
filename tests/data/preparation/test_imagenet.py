"""ImageNet from the official archives or another layout, in miniature."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import imagenet as official

from simnl.data.preparation.catalogue import SOURCES
from simnl.data.preparation.classnames import write_classnames
from simnl.data.preparation.prepare import plan

WNIDS = ["n01440764", "n01443537", "n03773504", "n04008634"]
VAL = [2, 1, 4, 3, 1, 2, 3, 4]  # the class (from 1) of each validation image, by number
IDS = {1: WNIDS[3], 2: WNIDS[0], 3: WNIDS[2], 4: WNIDS[1]}  # the devkit's numbers are not in the order of the ids


def val_name(number: int) -> str:
    return f"ILSVRC2012_val_{number:08d}.JPEG"


EXPECTED = {f"{IDS[label]}/{val_name(number)}" for number, label in enumerate(VAL, start=1)}


def run_all(root: Path) -> list[str]:
    """Run the steps; returns what is by hand."""
    by_hand = []
    for step in plan(SOURCES["imagenet"], root):
        if step.run:
            step.run()
        else:
            by_hand.append(step.text)
    return by_hand


def val_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.JPEG") if path.is_file()}


def devkit(helpers) -> bytes:
    """An archive with meta.mat and the list of the validation images' classes; a fifth synset is no class."""
    fields = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children"]
    synsets = np.empty(5, dtype=[(name, object) for name in fields])
    for row, (number, wnid) in enumerate(IDS.items()):
        synsets[row] = (number, wnid, f"class {number}", "", 0)
    synsets[4] = (5, "n00001740", "entity", "", 4)
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"synsets": synsets})
    above = "ILSVRC2012_devkit_t12/data"
    truth = "".join(f"{label}\n" for label in VAL).encode()
    names = {f"{above}/meta.mat": buffer.getvalue(), f"{above}/ILSVRC2012_validation_ground_truth.txt": truth}
    return helpers.make_tar(names)


@pytest.fixture
def archives(helpers, monkeypatch):
    """`archives(folder, "train", ...)` writes miniature archives under their official names and checksums."""
    train = {f"{w}.tar": helpers.make_tar({f"{w}_{i}.JPEG": w.encode() for i in range(3)}, "") for w in WNIDS}
    numbers = range(len(VAL), 0, -1)  # not in the order of the names
    contents = {
        "train": helpers.make_tar(train, ""),
        "val": helpers.make_tar({val_name(number): b"%d" % number for number in numbers}, ""),
        "devkit": devkit(helpers),
    }
    meta = {kind: (official.ARCHIVE_META[kind][0], helpers.md5(content)) for kind, content in contents.items()}
    monkeypatch.setattr(official, "ARCHIVE_META", meta)

    def write(folder: Path, *kinds: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for kind in kinds:
            (folder / meta[kind][0]).write_bytes(contents[kind])

    return write


def test_official_archives(archives, root):
    archives(root / "imagenet", "train", "val", "devkit")
    assert run_all(root) == []
    images = root / "imagenet" / "images"
    assert val_files(images / "train") == {f"{wnid}/{wnid}_{i}.JPEG" for wnid in WNIDS for i in range(3)}
    assert val_files(images / "val") == EXPECTED
    for number, label in enumerate(VAL, start=1):
        assert (images / "val" / IDS[label] / val_name(number)).read_bytes() == b"%d" % number
    assert sorted(os.listdir(images)) == ["train", "val"]
    assert "meta.bin" not in os.listdir(root / "imagenet")
    assert plan(SOURCES["imagenet"], root) == []


def test_damaged_archive_is_not_unpacked(archives, root):
    archives(root / "imagenet", "train", "val", "devkit")
    path = root / "imagenet" / "ILSVRC2012_img_train.tar"
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(RuntimeError, match="corrupted"):
        run_all(root)
    assert os.listdir(root / "imagenet" / "images") == []


def test_val_archive_without_devkit_is_by_hand(archives, root):
    archives(root, "train", "val")
    (text,) = run_all(root)
    assert "devkit" in text
    assert os.listdir(root / "imagenet" / "images") == ["train"]


def flat_val(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(1, len(VAL) + 1):
        (folder / val_name(number)).write_bytes(b"%d" % number)


def kaggle(root: Path) -> Path:
    """Kaggle's layout: training folders, flat validation images, and their list."""
    above = root / "ILSVRC" / "Data" / "CLS-LOC"
    flat_val(above / "val")
    for wnid in WNIDS:
        (above / "train" / wnid).mkdir(parents=True)
        (above / "train" / wnid / f"{wnid}_1.JPEG").write_bytes(b"x")
    rows = [f"{val_name(n)[:-5]},{IDS[label]} 1 2 3 4 {IDS[label]} 5 6 7 8" for n, label in enumerate(VAL, start=1)]
    path = root / "LOC_val_solution.csv"
    path.write_text("\n".join(["ImageId,PredictionString", *reversed(rows)]) + "\n")
    return path


def test_kaggle_layout_is_linked(root):
    kaggle(root)
    assert run_all(root) == []
    images = root / "imagenet" / "images"
    assert (images / "train").is_symlink()
    assert val_files(images / "val") == EXPECTED
    assert all(path.is_symlink() for path in (images / "val").glob("*/*"))
    assert len(os.listdir(root / "ILSVRC" / "Data" / "CLS-LOC" / "val")) == len(VAL)
    assert plan(SOURCES["imagenet"], root) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2\n", "does not list ILSVRC2012_val_00000002"),
        ("image,label\n1,2\n", "columns ImageId and PredictionString"),
        ("ImageId,PredictionString\n1,\n", "filled in each row"),
    ],
)
def test_list_that_does_not_fit(root, text, message):
    kaggle(root).write_text(text)
    with pytest.raises(ValueError, match=message):
        run_all(root)
    assert os.listdir(root / "imagenet" / "images") == ["train"]


def test_flat_folder_with_devkit(archives, root):
    archives(root / "imagenet", "devkit")
    flat_val(root / "imagenet" / "val")
    run_all(root)
    assert val_files(root / "imagenet" / "images" / "val") == EXPECTED


@pytest.mark.parametrize("place", ["imagenet/ILSVRC2012_devkit_t12/data", "imagenet"])
def test_flat_folder_with_the_ground_truth_file(helpers, root, place):
    flat_val(root / "imagenet" / "val")
    with tarfile.open(fileobj=io.BytesIO(devkit(helpers))) as tar:
        for member in tar:
            path = root / place / Path(member.name).name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(tar.extractfile(member).read())
    truth, meta = (root / place / name for name in ("ILSVRC2012_validation_ground_truth.txt", "meta.mat"))
    names, text = meta.read_bytes(), truth.read_text()
    meta.unlink()
    with pytest.raises(FileNotFoundError, match=r"meta.mat is missing, which names the classes"):
        run_all(root)
    meta.write_bytes(names)
    truth.write_text("7\n" * 8)
    with pytest.raises(ValueError, match=r"ground_truth.txt: '7' is not a class number"):
        run_all(root)
    truth.write_text(text)
    run_all(root)
    assert val_files(root / "imagenet" / "images" / "val") == EXPECTED


def test_incomplete_flat_folder_is_refused(archives, root):
    archives(root / "imagenet", "train", "devkit")
    flat_val(root / "imagenet" / "val")
    (root / "imagenet" / "val" / val_name(3)).unlink()
    with pytest.raises(ValueError, match="holds 7 images, while .* labels 8"):
        run_all(root)
    assert os.listdir(root / "imagenet" / "images") == ["train"]


def test_flat_images_in_the_target_are_left_to_the_user(archives, root):
    archives(root / "imagenet", "train", "devkit")
    flat_val(root / "imagenet" / "images" / "val")
    (text,) = run_all(root)
    assert f"Move that folder to {root / 'imagenet' / 'val'}" in text
    assert len(os.listdir(root / "imagenet" / "images" / "val")) == len(VAL)


def test_class_names(tmp_path):
    from simnl.data.wnids import read_classnames

    write_classnames(tmp_path / "classnames.txt")
    names = read_classnames(tmp_path / "classnames.txt")
    assert len(names) == 1000
    assert list(names) == sorted(names)
    assert [names[wnid] for wnid in ("n01440764", "n03126707", "n03773504", "n15075141")] == [
        "tench", "construction crane", "missile", "toilet paper"
    ]  # fmt: skip
    assert os.listdir(tmp_path) == ["classnames.txt"]
