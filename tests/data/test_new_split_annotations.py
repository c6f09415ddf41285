"""New splits of the two data sets whose classes stand in MATLAB files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.io import savemat


@pytest.fixture
def flowers(build):
    built = build("OxfordFlowers")
    (built.folder / "split_zhou_OxfordFlowers.json").unlink()
    images = sorted(built.images.iterdir())
    labels = [int(path.stem[-1]) for path in images]
    for number, path in enumerate(images, start=1):
        path.rename(built.images / f"image_{number:05d}.jpg")
    savemat(built.folder / "imagelabels.mat", {"labels": np.array([labels])})
    (built.folder / "cat_to_name.json").write_text(json.dumps({"3": "rose", "1": "pink primrose", "2": "lily"}))
    return built, {f"image_{number:05d}.jpg": label - 1 for number, label in enumerate(labels, start=1)}


def test_flowers(flowers, load):
    built, labels = flowers
    data = load("OxfordFlowers", NEW_SPLIT=True, NUM_SHOTS=-1)
    assert data.classnames == ["pink primrose", "lily", "rose"]
    images = [*data.train_x, *data.full_val, *data.test]
    assert {d.impath.rpartition("/")[2]: d.label for d in images} == labels


def test_flowers_damaged(flowers, load):
    built, _ = flowers
    (built.folder / "imagelabels.mat").write_bytes(b"not a mat file" * 20)
    with pytest.raises(ValueError, match=r"imagelabels.mat is not a readable MATLAB file"):
        load("OxfordFlowers", NEW_SPLIT=True)
    savemat(built.folder / "imagelabels.mat", {"others": [1]})
    with pytest.raises(ValueError, match=r"imagelabels.mat has no variable 'labels'"):
        load("OxfordFlowers", NEW_SPLIT=True)
    (built.folder / "cat_to_name.json").write_text("[]")
    with pytest.raises(ValueError, match=r"cat_to_name.json must map"):
        load("OxfordFlowers", NEW_SPLIT=True)


def test_cars(build, load):
    built = build("StanfordCars")
    (built.folder / "split_zhou_StanfordCars.json").unlink()
    (built.folder / "devkit").mkdir()
    names = np.array(["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Acura TL Sedan 2012"], dtype=object)
    savemat(built.folder / "devkit" / "cars_meta.mat", {"class_names": names})
    expected = {}
    for folder, path in (
        ("cars_train", built.folder / "devkit" / "cars_train_annos.mat"),
        ("cars_test", built.folder / "cars_test_annos_withlabels.mat"),
    ):
        images = sorted(path.name for path in (built.folder / folder).iterdir())
        rows = [(float(name[-5]), name) for name in images]
        expected |= {f"{folder}/{name}": int(label) - 1 for label, name in rows}
        savemat(path, {"annotations": np.array(rows, dtype=[("class", object), ("fname", object)])})
    data = load("StanfordCars", NEW_SPLIT=True, NUM_SHOTS=-1)
    assert data.classnames == ["2000 AM General Hummer SUV", "2012 Acura RL Sedan", "2012 Acura TL Sedan"]
    images = [*data.train_x, *data.full_val, *data.test]
    assert {d.impath.partition("/stanford_cars/")[2]: d.label for d in images} == expected
