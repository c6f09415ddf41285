"""Each data set loads from its own layout: paths, labels, names, draws, errors."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from dassl.data.datasets import DatasetBase
from simnl.data.base import FewShotDataset


def rows(datums, images: Path) -> list[tuple[str, int, str]]:
    return [(Path(d.impath).relative_to(images).as_posix(), d.label, d.classname) for d in datums]


def draw_by_hand(generator: random.Random, items: list, shots: int) -> list:
    """CoOp's draw, straight: classes as they appear, a sample of each, all where too few."""
    drawn = []
    for label in dict.fromkeys(label for _, label, _ in items):
        group = [item for item in items if item[1] == label]
        drawn += generator.sample(group, shots) if len(group) >= shots else group
    return drawn


def snapshot(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(path), path.stat().st_mtime_ns) for path in folder.rglob("*"))


def test_all_images_labels_and_names(trained, build, load):
    built = build(trained)
    data = load(trained, NUM_SHOTS=-1)
    assert rows(data.train_x, built.images) == built.parts["train"]
    assert rows(data.test, built.images) == built.parts["test"]
    expected = {label: name for _, label, name in built.parts["test"]}
    assert data.lab2cname == expected
    assert data.classnames == [expected[label] for label in sorted(expected)]
    assert data.num_classes == len(expected)
    assert data.clean_labels == [datum.label for datum in data.train_x]
    assert data.split_origin == "standard"
    assert not data.eval_only
    assert data.root == built.folder


def test_draws_are_coops(trained, build, load):
    built = build(trained)
    for seed, shots in ((1, 1), (2, 4), (3, 6)):
        generator = random.Random(seed)
        train = draw_by_hand(generator, built.parts["train"], shots)
        pool = built.parts.get("val") or [item for item in built.parts["train"] if item not in train]
        val = draw_by_hand(generator, pool, min(shots, 4))
        data = load(trained, NUM_SHOTS=shots, SEED=seed)
        assert rows(data.train_x, built.images) == train
        assert rows(data.val or [], built.images) == val
        other = load(trained, NUM_SHOTS=shots, SEED=9, PROTOCOL="full-val")
        assert rows(other.draw_train(seed), built.images) == train


def test_a_second_draw_leaves_the_images_alone_on_which_the_run_selects(trained, build, load):
    built = build(trained)
    for shots in (1, 2, 4):
        data = load(trained, NUM_SHOTS=shots, SEED=9)
        second, selected = ({datum.impath for datum in part} for part in (data.draw_train(3), data.val))
        assert not second & selected
        if built.parts.get("val"):  # then nothing can be drawn twice, and the draw is CoOp's
            expected = draw_by_hand(random.Random(3), built.parts["train"], shots)
            assert rows(data.draw_train(3), built.images) == expected


def test_whole_validation_part(trained, build, load):
    built = build(trained)
    data = load(trained)
    if trained in ("Food101N", "ImageNet"):
        assert data.full_val is None
    else:
        assert rows(data.full_val, built.images) == built.parts["val"]
        assert rows(load(trained, NUM_SHOTS=0).val, built.images) == built.parts["val"]


def test_base_and_new_classes(trained, build, load):
    built = build(trained)
    count = len({label for _, label, _ in built.parts["train"]})
    half = (count + 1) // 2
    everything = load(trained)
    for subset, kept in (("base", range(half)), ("new", range(half, count))):
        data = load(trained, SUBSAMPLE_CLASSES=subset)
        for part in ("train_x", "val", "test", "full_val"):
            full = getattr(everything, part)
            expected = [(d.impath, d.label - kept[0], d.classname) for d in full or () if d.label in kept]
            assert [(d.impath, d.label, d.classname) for d in getattr(data, part) or ()] == expected
        assert data.num_classes == len(kept)


def test_evaluation_sets(evaluated, build, load):
    built = build(evaluated)
    data = load(evaluated, NUM_SHOTS=16, SUBSAMPLE_CLASSES="new")
    assert rows(data.test, built.images) == built.parts["test"]
    assert data.train_x == data.test
    assert (data.val, data.full_val) == (None, None)
    assert data.eval_only
    with pytest.raises(ValueError, match="has only test images"):
        data.draw_train(1)


def test_data_root_is_not_touched_and_may_be_the_folder_itself(trained, build, load, store):
    built = build(trained)
    before = snapshot(built.folder)
    data = load(trained)
    direct = load(trained, ROOT=built.folder, FOLDER=".")
    assert rows(direct.train_x, built.images) == rows(data.train_x, built.images)
    assert snapshot(built.folder) == before
    assert [path.parent.parent.name for path in store.rglob("*.json")] == [trained]


def test_global_generator_is_left_alone(trained, build, load):
    build(trained)
    random.seed(5)
    expected = random.random()
    random.seed(5)
    first = load(trained)
    assert random.random() == expected
    random.seed(99)
    assert [d.impath for d in load(trained).train_x] == [d.impath for d in first.train_x]


def test_missing_folder_says_where_it_looked(trained, load, root):
    (root / "something_else").mkdir(parents=True)
    with pytest.raises(FileNotFoundError) as error:
        load(trained)
    assert str(root) in str(error.value)
    if trained != "ImageFolder":
        assert "something_else/" in str(error.value)
        assert "python tools/prepare_data.py" in str(error.value)


def test_missing_image_folder(json_name, build, load):
    built = build(json_name)
    if built.images == built.folder:
        shutil.rmtree(built.folder / "cars_train")
    else:
        shutil.rmtree(built.images)
    with pytest.raises(FileNotFoundError, match=str(built.images)):
        load(json_name)


def test_missing_images_are_counted_and_named(json_name, build, load):
    built = build(json_name)
    gone = [path for path, *_ in built.parts["test"][:2]]
    for path in gone:
        (built.images / path).unlink()
    with pytest.raises(FileNotFoundError, match=r"2 of \d+ images that .* missing") as error:
        load(json_name)
    assert all(path in str(error.value) for path in gone)


def test_only_images_that_are_used_must_be_there(build, load):
    built = build("DescribableTextures")
    drawn = {d.impath for d in load("DescribableTextures").train_x}
    for path, *_ in built.parts["train"]:
        if str(built.images / path) not in drawn:
            (built.images / path).unlink()
    data = load("DescribableTextures")
    assert {d.impath for d in data.train_x} == drawn
    with pytest.raises(FileNotFoundError, match="images that .* missing"):
        load("DescribableTextures", NUM_SHOTS=-1)
    (built.images / built.parts["val"][0][0]).unlink()
    with pytest.raises(FileNotFoundError, match="1 of 15 images that .* missing"):
        _ = data.full_val


def test_broken_link_counts_as_missing(build, load):
    built = build("Food101")
    image = built.images / built.parts["test"][0][0]
    image.unlink()
    os.symlink("nowhere.jpg", image)
    with pytest.raises(FileNotFoundError, match=r"1 of \d+ images that .* missing"):
        load("Food101")


def test_missing_split_is_an_error_until_a_new_one_is_asked_for(json_name, build, load, store, caplog):
    built = build(json_name)
    split = next(built.folder.glob("split_zhou_*.json"))
    split.unlink()
    with pytest.raises(FileNotFoundError, match="NEW_SPLIT") as error:
        load(json_name)
    assert str(split) in str(error.value)
    if json_name in ("OxfordFlowers", "StanfordCars"):
        with pytest.raises(FileNotFoundError, match=r"new split needs .*\.(mat|json)"):
            load(json_name, NEW_SPLIT=True)
        return
    data = load(json_name, NEW_SPLIT=True, NUM_SHOTS=-1)
    again = load(json_name, NEW_SPLIT=True, NUM_SHOTS=-1, SEED=7)
    assert data.split_origin == "generated"
    assert "random split" in caplog.text
    assert data.split_hash == again.split_hash
    assert len(list((store / "splits").glob("*.json"))) == 1
    images = [rows(part, built.images) for part in (data.train_x, data.full_val, data.test)]
    assert {path for part in images for path, *_ in part} == {p for part in built.parts.values() for p, *_ in part}
    assert dict.fromkeys(name for _, _, name in images[0]) == dict.fromkeys(data.classnames)
    names = {path: name for part in built.parts.values() for path, _, name in part}
    assert all(name == names[path] for part in images for path, _, name in part)
    assert [len(part) for part in images] == [
        3 * 6,
        3 * 3,
        3 * 4,
    ]  # 13 per class: round(6.5), round(2.6), the rest


def test_new_split_leaves_out_what_is_no_class_and_no_image(build, load):
    built = build("Caltech101")
    (built.folder / "split_zhou_Caltech101.json").unlink()
    for folder in ("BACKGROUND_Google", "Faces_easy", ".cache"):
        shutil.copytree(built.images / "Faces", built.images / folder)
    (built.images / "Faces" / "folder.jpg").mkdir()
    (built.images / "Faces" / ".hidden.jpg").write_bytes(b"")
    data = load("Caltech101", NEW_SPLIT=True, NUM_SHOTS=-1)
    assert data.classnames == ["face", "accordion", "airplane"]
    assert len(data.train_x) + len(data.full_val) + len(data.test) == 3 * 13


def test_other_split_file(build, load, tmp_path):
    built = build("Food101")
    other = tmp_path / "other.json"
    (built.folder / "split_zhou_Food101.json").rename(other)
    assert rows(load("Food101", SPLIT_FILE=str(other)).test, built.images) == built.parts["test"]
    with pytest.raises(FileNotFoundError, match="absent.json"):
        load("Food101", SPLIT_FILE=str(tmp_path / "absent.json"), NEW_SPLIT=True)


def test_sizes_other_than_published_are_mentioned(build, load, caplog):
    build("DescribableTextures")
    load("DescribableTextures")
    assert "found 3 classes, " in caplog.text
    assert "has 47 classes, 2,820 training, 1,128 validation, 1,692 test images" in caplog.text


def test_private_names_do_not_hide_the_engines():
    hidden = set(vars(FewShotDataset)) & set(dir(DatasetBase))
    assert {name for name in hidden if not name.startswith("__")} == {
        *("dataset_dir", "num_classes", "lab2cname", "classnames"),
    }


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"SUBSAMPLE_CLASSES": "half"}, "all, base or new"),
        ({"SEED": -1}, "SEED is -1, but a few-shot draw needs 0 or more"),
        ({"LABEL_NOISE": 1.5}, "between 0 and 1"),
        ({"ROOT": ""}, "DATASET.ROOT is empty"),
    ],
)
def test_bad_settings(settings, message, build, load):
    build("Food101")
    with pytest.raises(ValueError, match=message):
        load("Food101", **settings)


@pytest.mark.parametrize(("name", "other"), [("0.JPG", "0.JPG"), ("0.png", "0.png")])
def test_image_of_another_ending_is_named(build, load, name, other):
    built = build("Food101")
    path = built.images / built.parts["test"][0][0]
    path.rename(path.with_name(path.stem + Path(name).suffix))
    with pytest.raises(
        FileNotFoundError, match=rf"missing below .*; {path.stem}{Path(other).suffix} is there, but names"
    ):
        load("Food101")


@pytest.mark.parametrize("name", ["Food101", "ImageNet", "ImageNetA"])
def test_spaces_other_scripts_and_links_in_the_path(name, build, load, root, tmp_path):
    built = build(name)
    expected = [Path(datum.impath).relative_to(root) for datum in load(name).test]
    odd = tmp_path / "Größe und Maß 数据"
    root.rename(odd)
    (tmp_path / "link").symlink_to(odd)
    for top in (odd, tmp_path / "link"):
        assert [Path(datum.impath).relative_to(top) for datum in load(name, ROOT=top).test] == expected
    assert built.parts["test"]


def test_evaluation_set_in_a_folder_of_its_own_name(evaluated, build, load):
    """As unpacking by hand leaves it, and `prepare_data` links: the folder itself is no class."""
    built = build(evaluated)
    expected = rows(load(evaluated).test, built.images)
    (built.images / built.images.name).mkdir()
    for folder in [path for path in built.images.iterdir() if path.is_dir() and path.name != built.images.name]:
        folder.rename(built.images / built.images.name / folder.name)
        folder.symlink_to(built.images / built.images.name / folder.name)
    assert rows(load(evaluated).test, built.images) == expected
