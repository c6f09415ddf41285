"""The check's verdicts, on data sets in miniature."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import pytest

from simnl.data.own_images import ImageFolder
from simnl.data.preparation import decode
from simnl.data.preparation.catalogue import SOURCES
from simnl.runs.data_check import check, check_folder, render

CONFIG = {
    "Caltech101": "caltech101",
    "ImageNet": "imagenet",
    "ImageNetA": "imagenet_a",
    "FGVCAircraft": "fgvc_aircraft",
}


@pytest.fixture
def pets(build, miniature, root, helpers, monkeypatch):
    """OxfordPets in miniature, right in every way."""
    built = build("OxfordPets", root)
    miniature("OxfordPets", built)
    md5 = helpers.md5((built.folder / "split_zhou_OxfordPets.json").read_bytes())
    images, split = SOURCES["oxford_pets"].pieces
    pieces = (images, replace(split, remote=replace(split.remote, md5=md5)))
    monkeypatch.setitem(SOURCES, "oxford_pets", replace(SOURCES["oxford_pets"], pieces=pieces))
    return built


def test_right(pets, root, tool):
    code, output, _ = tool("check_data", "oxford_pets", "--root", root, "--deep")
    assert code == 0
    row = r"oxford_pets +right +3 / 3 +18 / 18 +15 / 15 +6 / 6 +[0-9a-f]{12} \(published\) +no *$"
    assert re.search(row, output, re.M)
    assert "prepare_data" not in output


@pytest.mark.parametrize("registered", CONFIG)
def test_right_with_other_splits_and_without_parts(build, miniature, root, registered, monkeypatch):
    built = build(registered, root)
    miniature(registered, built)
    name = CONFIG[registered]
    if SOURCES[name].piece("split_zhou_Caltech101.json"):  # nothing to compare the split with
        monkeypatch.setitem(SOURCES, name, replace(SOURCES[name], pieces=()))
    report = check(name, root, deep=True)
    assert report.right, report
    assert report.split_note == ""
    assert len(report.split) == 64
    counts = [len(built.parts.get(part, ())) for part in ("train", "val", "test")]
    assert [report.found.train, report.found.val, report.found.test] == counts


def test_miniature_against_the_published_sizes(build, root, tool, caplog):
    build("DescribableTextures", root)
    code, output, _ = tool("check_data", "dtd", "--root", root)
    assert code == 1
    assert "wrong class count" in output
    assert "3 / 47" in output
    assert "dtd: 3 classes were found, 47 are expected" in output
    assert not caplog.records  # the table says it, and no warning says it again


def test_wrong_image_count(pets, root, monkeypatch):
    from datasets.oxford_pets import OxfordPets

    monkeypatch.setattr(OxfordPets, "published", replace(OxfordPets.published, test=7))
    report = check("oxford_pets", root)
    assert report.state == "wrong image count"
    assert report.problem == "6 test images were found, 7 are expected"
    assert "6 / 7" in render([report])


def test_nothing_there(root, tool):
    code, output, _ = tool("check_data", "oxford_pets", "dtd", "--root", root)
    assert code == 1
    for name in ("oxford_pets", "dtd"):
        assert re.search(rf"{name} +missing .*python tools/prepare_data.py {name} --root {root}", output)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_missing_image_of_any_part(pets, root, part):
    path = pets.parts[part][1][0]
    (pets.images / path).unlink()
    report = check("oxford_pets", root)
    assert report.state == "images missing"
    assert path in report.problem
    assert "prepare_data.py oxford_pets" in report.fix


def test_missing_and_damaged_split(pets, root):
    split = pets.folder / "split_zhou_OxfordPets.json"
    split.write_text('{"train": [')
    damaged = check("oxford_pets", root)
    assert damaged.state == "damaged"
    assert "not valid json" in damaged.problem
    split.unlink()
    missing = check("oxford_pets", root)
    assert missing.state == "missing"
    assert "no split file" in missing.problem


def test_other_split_of_the_same_size(pets, root):
    split = pets.folder / "split_zhou_OxfordPets.json"
    parts = json.loads(split.read_text())
    parts["train"].reverse()  # draws depend on the order
    split.write_text(json.dumps(parts))
    report = check("oxford_pets", root)
    assert (report.state, report.split_note) == ("other split", "other")
    assert not report.right


def test_deep_finds_what_cannot_be_decoded(pets, root, tool):
    cut, empty = (pets.images / pets.parts[part][0][0] for part in ("val", "test"))
    cut.write_bytes(cut.read_bytes()[:-60])
    empty.write_bytes(b"")
    assert tool("check_data", "oxford_pets", "--root", root)[0] == 0  # only a deep look can tell
    code, output, _ = tool("check_data", "oxford_pets", "--root", root, "--deep")
    assert code == 1
    assert "unreadable images" in output
    assert "2 unreadable: " in output
    assert str(cut) in output
    assert str(empty) in output


def test_deep_looks_at_what_is_wrong_otherwise_too(pets, root, monkeypatch):
    from datasets.oxford_pets import OxfordPets

    (pets.images / pets.parts["test"][0][0]).write_bytes(b"")
    monkeypatch.setattr(OxfordPets, "published", replace(OxfordPets.published, classes=37))
    report = check("oxford_pets", root, deep=True)
    assert report.state == "wrong class count, unreadable images"
    assert report.problem.startswith("3 classes were found, 37 are expected; 1 unreadable: ")


def test_processes_find_the_same(pets, monkeypatch):
    paths = sorted(str(path) for path in pets.images.iterdir())
    (pets.images / paths[3]).write_bytes(b"no image")
    alone = decode.unreadable(paths, "pets", workers=1)
    monkeypatch.setattr(decode, "POOL_FROM", 1)
    assert decode.unreadable(paths, "pets", workers=2) == alone
    assert [path for path, _ in alone] == [paths[3]]


def test_all_has_sixteen_rows(root, tool):
    code, output, _ = tool("check_data", "--all", "--root", root)
    assert code == 1
    assert len(re.findall(r"^\w+ +missing ", output, re.M)) == 16


# -------------------------------------------------------------------------------------- duplicates
def make_different(folder):
    for number, path in enumerate(sorted(folder.rglob("*.[jp][pn]g"))):
        path.write_bytes(path.read_bytes() + str(number).encode())


def test_duplicates_are_counted_and_right_all_the_same(pets, root, tool, tmp_path):
    make_different(pets.images)
    arguments = ("check_data", "oxford_pets", "--root", root, "--cache", tmp_path / "cache", "--duplicates")
    code, output, _ = tool(*arguments)
    assert code == 0
    assert re.search(r"CuPL +in two parts +fix", output)
    assert re.search(r"oxford_pets +right .* none *$", output, re.M)
    test, train, val = (pets.images / pets.parts[part][0][0] for part in ("test", "train", "val"))
    other = pets.images / pets.parts["test"][1][0]
    test.write_bytes(train.read_bytes())
    other.write_bytes(val.read_bytes())
    code, output, _ = tool(*arguments)
    assert code == 0  # some published splits have them
    assert re.search(r"oxford_pets +right .* 1 training/test, 1 validation/test *$", output, re.M)
    assert f"1 test image is equal in content to training images: {test.name} = {train.name}" in output
    assert "Published splits are not changed" in output


def test_duplicates_are_looked_for_only_where_asked(pets, root, tool, tmp_path):
    """It reads every file: of the published sizes that takes minutes to hours."""
    code, output, _ = tool("check_data", "oxford_pets", "--root", root, "--cache", tmp_path / "cache")
    assert code == 0
    assert "in two parts" not in output
    assert not (tmp_path / "cache").exists()


def test_evaluation_sets_have_one_part(build, miniature, root, tmp_path):
    miniature("ImageNetA", build("ImageNetA", root))
    report = check("imagenet_a", root, cache=tmp_path / "cache")
    assert (report.right, report.shared) == (True, {})


# ------------------------------------------------------------------------------------- own folders
@pytest.fixture
def mine(build, root, tmp_path):
    """One's own class folders, not split yet: 6 different images each."""
    built = build("ImageFolder", root)
    make_different(built.images)
    folder = tmp_path / "my images"
    (built.images / "train").rename(folder)
    return folder


def test_own_folder(mine, tool, tmp_path):
    arguments = ("check_data", "--folder", mine, "--cache", tmp_path / "cache", "--deep")
    code, output, _ = tool(*arguments)
    assert code == 0
    row = r"my images +right +2 +6 +2 +4 +[0-9a-f]{12} \(made by the first run\) +no +none *$"
    assert re.search(row, output, re.M)
    assert sorted(path.name for path in mine.iterdir()) == ["big cat", "x1"]  # nothing is written there
    shutil.copy(mine / "x1" / "0.png", mine / "x1" / "again.png")
    (mine / "big cat" / "cut.png").write_bytes((mine / "big cat" / "0.png").read_bytes()[:40])
    code, output, _ = tool(*arguments)
    assert code == 1
    assert re.search(rf"1 unreadable: {mine}/big cat/cut.png", output)


def test_own_folder_is_split_as_a_run_would(mine, tmp_path):
    from simnl.locations import CONFIGS
    from simnl.runs.config import assemble

    report = check_folder(mine, tmp_path / "cache")
    settings = {"DATASET.FOLDER": str(mine), "STORE.ROOT": str(tmp_path / "cache")}
    run = ImageFolder(assemble([CONFIGS / "datasets" / "imagefolder.yaml"], settings=settings))
    assert run.split_hash == report.split
    assert (mine / "split.json").is_file()
    again = check_folder(mine, tmp_path / "cache")
    assert (again.split, again.split_note) == (report.split, "generated")


def test_own_folder_with_equal_images(mine, tool, tmp_path, caplog):
    for number in range(1, 6):
        shutil.copy(mine / "x1" / "0.png", mine / "x1" / f"{number}.png")
    code, output, _ = tool("check_data", "--folder", mine, "--cache", tmp_path / "cache")
    assert code == 0
    assert re.search(r"2 training/test, 2 validation/test, 1 training/validation *$", output, re.M)
    assert "Remove one of each pair" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--folder", "{gone}"), "no folder {gone}"),
        (("--folder", "{gone}", "dtd"), "--folder is a check of its own"),
        (("dtd",), "give --root"),
    ],
)
def test_own_folder_badly_asked_for(tool, tmp_path, capsys, arguments, words):
    gone = str(tmp_path / "gone")
    arguments = [argument.format(gone=gone) for argument in arguments]
    try:
        code, output, errors = tool("check_data", *arguments, "--cache", tmp_path / "cache")
    except SystemExit as stopped:  # argparse
        code, output, errors = stopped.code, "", capsys.readouterr().err
    assert code != 0
    assert words.format(gone=gone) in output + errors


def test_own_folder_with_a_bad_template(mine, tmp_path):
    (mine / "templates.txt").write_text("a photo\n")
    report = check_folder(mine, tmp_path / "cache")
    assert report.state == "damaged"
    assert "templates.txt" in report.problem
