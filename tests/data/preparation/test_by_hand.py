"""Data that people have unpacked by hand: a folder deeper, under the archive's own folders, or at the wrong root."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from simnl.commands import as_typed
from simnl.data.preparation.catalogue import SOURCES
from simnl.data.preparation.prepare import plan
from simnl.runs.data_check import check

REGISTERED = {
    "caltech101": "Caltech101",
    "dtd": "DescribableTextures",
    "eurosat": "EuroSAT",
    "fgvc_aircraft": "FGVCAircraft",
    "food101": "Food101",
    "imagenet": "ImageNet",
    "imagenet_a": "ImageNetA",
    "imagenet_r": "ImageNetR",
    "imagenet_sketch": "ImageNetSketch",
    "imagenetv2": "ImageNetV2",
    "oxford_flowers": "OxfordFlowers",
    "oxford_pets": "OxfordPets",
    "stanford_cars": "StanfordCars",
    "sun397": "SUN397",
    "ucf101": "UCF101",
}


@pytest.fixture(params=REGISTERED)
def name(request, monkeypatch) -> str:
    """Each data set; the files of the miniature pass for the published ones."""
    source = SOURCES[request.param]
    pieces = tuple(replace(p, remote=replace(p.remote, md5="")) if p.remote else p for p in source.pieces)
    kept = tuple(p for p in pieces if p.target not in ("imagelabels.mat", "cat_to_name.json"))  # not in the miniature
    monkeypatch.setitem(SOURCES, request.param, replace(source, pieces=kept))
    return request.param


@pytest.fixture
def built(name, build, miniature, root):
    made = build(REGISTERED[name], root)
    miniature(REGISTERED[name], made)
    return made


def put_below(folder, *names: str) -> None:
    """Move what is in `folder` into new folders in it."""
    entries = list(folder.iterdir())
    place = folder.joinpath(*names)
    place.mkdir(parents=True)
    for entry in entries:
        entry.rename(place / entry.name)


def is_linked(name: str, root) -> None:
    """The check sends people to prepare_data, whose steps only link; then all is right."""
    report = check(name, root)
    assert not report.right
    assert report.fix == as_typed(f"python tools/prepare_data.py {name} --root {root}")
    steps = plan(SOURCES[name], root)
    assert [step.text.partition(" ")[0] for step in steps] == ["link"] * len(steps)
    for step in steps:
        step.run()
    assert plan(SOURCES[name], root) == []
    report = check(name, root)
    assert report.right, report


def test_data_set_a_folder_deeper(name, built, root):
    put_below(built.folder, built.folder.name)
    is_linked(name, root)


def test_images_a_folder_deeper(name, built, root):
    if built.images == built.folder:
        pytest.skip("its split names the image folders")
    put_below(built.images, built.images.name)
    is_linked(name, root)


def test_under_the_folders_of_an_archive(build, miniature, root, monkeypatch):
    built = build("DescribableTextures", root)
    miniature("DescribableTextures", built)
    put_below(built.folder, "dtd-r1.0.1", "dtd")
    (built.folder / "dtd-r1.0.1" / "dtd" / "split_zhou_DescribableTextures.json").rename(root / "split.json")
    steps = plan(SOURCES["dtd"], root)
    assert steps[0].text == f"link {built.images} to {built.folder}/dtd-r1.0.1/dtd/images"
    assert steps[1].text.startswith("download split_zhou_DescribableTextures.json")
    assert len(steps) == 2


def test_other_split_in_a_deeper_folder_is_not_linked(build, root):
    built = build("DescribableTextures", root)
    put_below(built.folder, "dtd")
    steps = plan(SOURCES["dtd"], root)
    assert [step.text.partition(" ")[0] for step in steps] == ["link", "download"]


@pytest.mark.parametrize("tool_name", ["prepare_data", "check_data"])
def test_root_that_is_the_data_set_itself(build, root, tool, tool_name):
    built = build("Food101", root)
    code, _, errors = tool(tool_name, "food101", "--root", built.folder)
    assert code == 1
    assert f"{built.folder} is the folder of food101 itself (it holds images)" in errors
    assert f"--root {root}" in errors
    assert sorted(os.listdir(built.folder)) == ["images", "split_zhou_Food101.json"]


def test_names_file_that_is_missing_is_no_missing_image(build, root):
    built = build("ImageNetA", root)
    (built.folder / "classnames.txt").unlink()
    report = check("imagenet_a", root)
    assert (report.state, report.fix) == ("missing", as_typed(f"python tools/prepare_data.py imagenet_a --root {root}"))


def test_empty_class_folder_is(build, root):
    built = build("ImageNetA", root)
    folder = next(path for path in built.images.iterdir() if path.is_dir())
    for path in folder.iterdir():
        path.unlink()
    report = check("imagenet_a", root)
    assert report.state == "images missing"
    assert str(folder) in report.problem
