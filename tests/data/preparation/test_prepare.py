"""From nothing, or from what people have, to a complete data set; all sources stand on the loopback interface."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from simnl.data.preparation.catalogue import SOURCES
from simnl.data.preparation.prepare import plan
from simnl.data.preparation.sources import DOWNLOADS


def snapshot(folder: Path) -> dict[str, object]:
    """Every path below a folder with its time and size; links are not followed."""
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in sorted(folder.rglob("*"))}


def test_from_nothing_and_again(caltech, site, root, tool):
    code, output, errors = tool("prepare_data", "caltech101", "--root", root)
    assert (code, errors) == (0, "")
    assert re.search(r"caltech101 +right +3 / 3 +18 / 18 +15 / 15 +6 / 6 +[0-9a-f]{12} \(published\)", output)
    images = sorted((root / "caltech-101" / "101_ObjectCategories").rglob("*.jpg"))
    assert [path.read_bytes() for path in images] == [p.read_bytes() for p in sorted(caltech.images.rglob("*.jpg"))]
    assert sorted(os.listdir(root / "caltech-101")) == ["101_ObjectCategories", "split_zhou_Caltech101.json"]
    assert os.listdir(root / DOWNLOADS) in ([], [".lock"])
    before, requests = snapshot(root / "caltech-101"), list(site.requests)
    assert tool("prepare_data", "caltech101", "--root", root)[0] == 0
    assert snapshot(root / "caltech-101") == before
    assert site.requests == requests
    assert len(requests) == 2


def test_cupl_sentences_are_fetched_too(caltech, site, root, tool, helpers, monkeypatch):
    """From the second mirror; without them the data set is right, but not all that was asked for is there."""
    name, sentences = "CuPL_prompts_caltech101.json", b'{"face": ["A face."]}'
    (piece,) = (piece for piece in helpers.PUBLISHED["caltech101"].pieces if piece.above)
    urls = (f"{site.address}/gone/{name}", f"{site.address}/{name}")
    piece = replace(piece, remote=replace(piece.remote, urls=urls, md5=helpers.md5(sentences), size=0))
    pieces = (*SOURCES["caltech101"].pieces, piece)
    monkeypatch.setitem(SOURCES, "caltech101", replace(SOURCES["caltech101"], pieces=pieces))
    code, output, errors = tool("prepare_data", "caltech101", "--root", root)
    assert code == 1
    assert re.search(r"caltech101 +right .* no", output)
    assert re.search(rf"{name} could not be downloaded:\n.*gone/{name}: the server answers 404", output)
    assert "See above for what is left to do for caltech101" in errors
    site.add(name, sentences)
    code, output, _ = tool("prepare_data", "caltech101", "--root", root)
    assert code == 0
    assert re.search(r"caltech101 +right .* yes", output)
    assert (root / "gpt3_prompts" / name).read_bytes() == sentences
    (root / "gpt3_prompts").rename(root / "cupl")
    assert re.search(r"caltech101 +right .* yes", tool("check_data", "caltech101", "--root", root)[1])
    (root / "cupl" / name).write_text("{}")  # one's own sentences are no error
    assert tool("prepare_data", "caltech101", "--root", root)[0] == 0
    assert (root / "gpt3_prompts" / name).is_symlink()


def test_dead_mirror_then_a_server_that_drops_the_connection(caltech, site, root, tool, monkeypatch):
    images, split = SOURCES["caltech101"].pieces
    remote = replace(images.remote, urls=("http://127.0.0.1:9/dead.zip", *images.remote.urls))
    pieces = (replace(images, remote=remote), split)
    monkeypatch.setitem(SOURCES, "caltech101", replace(SOURCES["caltech101"], pieces=pieces))
    site.drop["/caltech-101.zip"] = 2
    code, output, _ = tool("prepare_data", "caltech101", "--root", root, "--keep")
    assert code == 0, output
    asked = [headers for path, headers in site.requests if path == "/caltech-101.zip"]
    assert asked[0] == ""
    assert len(asked) == 3
    assert all(re.fullmatch(r"bytes=\d+-", header) for header in asked[1:])
    assert (root / DOWNLOADS / "caltech-101.zip").read_bytes() == site.files["/caltech-101.zip"]


def test_dry_run_does_nothing(caltech, site, root, tool):
    code, output, _ = tool("prepare_data", "caltech101", "--root", root, "--dry-run")
    assert code == 1
    assert f"would download caltech-101.zip (0.0 MB) from {site.address}/caltech-101.zip" in output
    assert "make caltech-101/101_ObjectCategories of it" in output
    assert not root.exists()
    assert site.requests == []
    tool("prepare_data", "caltech101", "--root", root)
    code, output, _ = tool("prepare_data", "caltech101", "--root", root, "--dry-run")
    assert (code, output) == (0, "caltech101:\n  all of it is there\n")


def test_keep_keeps_the_archive(caltech, root, tool):
    assert tool("prepare_data", "caltech101", "--root", root, "--keep")[0] == 0
    assert (root / DOWNLOADS / "caltech-101.zip").is_file()


def test_wrong_checksum_is_reported_and_nothing_used(caltech, site, root, tool):
    site.files["/caltech-101.zip"] = site.files["/caltech-101.zip"][:-4] + b"else"
    code, output, errors = tool("prepare_data", "caltech101", "--root", root)
    assert code == 1
    assert "md5" in output
    assert "Not complete: caltech101. See above" in errors
    assert os.listdir(root / "caltech-101") == ["split_zhou_Caltech101.json"]  # the other step still ran
    assert os.listdir(root / DOWNLOADS) in ([], [".lock"])


def test_archive_that_leads_outside(site, root, tool, helpers, monkeypatch):
    evil = helpers.make_tar({"dtd/images/a/1.jpg": b"x", "../../evil.txt": b"evil"})
    helpers.serve(monkeypatch, site, helpers, "dtd", {"dtd-r1.0.1.tar.gz": evil})
    code, output, _ = tool("prepare_data", "dtd", "--root", root)
    assert code == 1
    assert "'../../evil.txt' leads out of the folder" in output
    assert not list(root.parent.rglob("evil.txt"))
    assert os.listdir(root / "dtd") == []


def test_interrupted_run_is_continued(caltech, site, root, tool, monkeypatch):
    def stop(*args) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simnl.data.preparation.prepare.unpack.find_member", stop)  # all is unpacked, nothing in place
        code, _, errors = tool("prepare_data", "caltech101", "--root", root)
    assert code == 130
    assert "Run the same command again" in errors
    assert os.listdir(root / "caltech-101") == []
    assert tool("prepare_data", "caltech101", "--root", root)[0] == 0
    assert sum(path == "/caltech-101.zip" for path, _ in site.requests) == 1


def test_second_run_at_the_same_time_is_refused(caltech, root, tool):
    from filelock import FileLock

    (root / DOWNLOADS).mkdir(parents=True)
    with FileLock(root / DOWNLOADS / ".lock"):
        code, _, errors = tool("prepare_data", "caltech101", "--root", root)
    assert code == 1
    assert "Another prepare_data is at work" in errors


def test_several_pieces_of_one_archive(site, build, miniature, root, tool, helpers, monkeypatch):
    built = build("FGVCAircraft")
    miniature("FGVCAircraft", built)
    archive = helpers.make_tar(helpers.files_below(built.folder, "fgvc-aircraft-2013b/data/"))
    helpers.serve(monkeypatch, site, helpers, "fgvc_aircraft", {"fgvc-aircraft-2013b.tar.gz": archive})
    code, output, _ = tool("prepare_data", "fgvc_aircraft", "--root", root)
    assert code == 0, output
    assert helpers.files_below(root / "fgvc_aircraft") == helpers.files_below(built.folder)
    assert len(site.requests) == 1


def test_damaged_archive_without_checksum_is_fetched_anew(site, build, miniature, root, tool, helpers, monkeypatch):
    built = build("FGVCAircraft")
    miniature("FGVCAircraft", built)
    archive = helpers.make_tar(helpers.files_below(built.folder, "fgvc-aircraft-2013b/data/"))
    damaged = archive[: len(archive) // 2] + bytes(len(archive) - len(archive) // 2)
    helpers.serve(monkeypatch, site, helpers, "fgvc_aircraft", {"fgvc-aircraft-2013b.tar.gz": damaged})
    code, output, _ = tool("prepare_data", "fgvc_aircraft", "--root", root)
    assert code == 1
    assert "is damaged" in output, output
    assert os.listdir(root / "fgvc_aircraft") == []
    site.add("fgvc-aircraft-2013b.tar.gz", archive)
    assert tool("prepare_data", "fgvc_aircraft", "--root", root)[0] == 0


# What people have: config name, registry name, where the images are in another layout, and the pieces below it.
LAYOUTS = [
    ("dtd", "DescribableTextures", "dtd/dtd", ["images"]),
    ("caltech101", "Caltech101", "caltech101", ["101_ObjectCategories"]),
    ("oxford_flowers", "OxfordFlowers", "flowers-102", ["jpg"]),
    ("oxford_pets", "OxfordPets", "oxford-iiit-pet", ["images"]),
    ("sun397", "SUN397", "", ["SUN397"]),
    ("stanford_cars", "StanfordCars", "stanford-cars-dataset/cars_train", ["cars_train"]),
    ("fgvc_aircraft", "FGVCAircraft", "fgvc-aircraft-2013b/data", ["images", "variants.txt"]),
    ("imagenet_sketch", "ImageNetSketch", "imagenet-sketch/sketch", ["images"]),
]


@pytest.mark.parametrize(("name", "registered", "place", "pieces"), LAYOUTS, ids=[row[0] for row in LAYOUTS])
def test_other_layouts_are_linked(build, root, name, registered, place, pieces):
    built = build(registered, root)
    for piece in pieces:
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        # The archive of ImageNet-Sketch calls the folder itself `sketch`.
        (built.folder / piece).rename(root / "moving")
        target = root / place if name == "imagenet_sketch" else root / place / piece
        target.parent.mkdir(parents=True, exist_ok=True)
        (root / "moving").rename(target)
    before = snapshot(root)
    steps = [step for step in plan(SOURCES[name], root) if step.text.startswith("link ")]
    assert len(steps) == len(pieces)
    for step in steps:
        step.run()
    assert [(built.folder / piece).is_symlink() for piece in pieces] == [True] * len(pieces)
    assert not os.path.isabs(os.readlink(built.folder / pieces[0]))  # the root may be moved
    assert {path: kept for path, kept in snapshot(root).items() if path in before and Path(path).is_file()} == {
        path: kept for path, kept in before.items() if Path(path).is_file()
    }
    assert not [step for step in plan(SOURCES[name], root) if step.text.startswith("link ")]
    images = [path for items in built.parts.values() for path, _, _ in items]
    assert all((built.images / path).is_file() for path in images)


def test_folders_nested_by_kaggle(build, miniature, root, tool, monkeypatch, site, helpers):
    built = build("StanfordCars", root)
    miniature("StanfordCars", built)
    split = (built.folder / "split_zhou_StanfordCars.json").read_bytes()
    helpers.serve(monkeypatch, site, helpers, "stanford_cars", {"split_zhou_StanfordCars.json": split})
    for name in ("cars_train", "cars_test"):
        (built.folder / name).rename(built.folder / "moving")
        (built.folder / name).mkdir()
        (built.folder / "moving").rename(built.folder / name / name)
    assert tool("check_data", "stanford_cars", "--root", root)[0] == 1
    code, output, _ = tool("prepare_data", "stanford_cars", "--root", root)
    assert code == 0, output
    assert "link the 6 entries of stanford_cars/cars_test/cars_test" in output
    assert plan(SOURCES["stanford_cars"], root) == []


def test_link_that_leads_nowhere_is_replaced(build, root):
    built = build("OxfordPets", root)
    (root / "oxford-iiit-pet").mkdir()
    built.images.rename(root / "oxford-iiit-pet" / "images")
    built.images.symlink_to(root / "gone")
    plan(SOURCES["oxford_pets"], root)[0].run()
    assert len(os.listdir(built.images)) == 39


def test_where_links_are_impossible(build, root, monkeypatch):
    built = build("OxfordPets", root)
    (root / "oxford-iiit-pet").mkdir()
    built.images.rename(root / "oxford-iiit-pet" / "images")

    def refuse(*args, **kwargs) -> None:
        raise OSError("not permitted")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    with pytest.raises(OSError, match="not permitted.*Copy or move it there yourself"):
        plan(SOURCES["oxford_pets"], root)[0].run()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stanford_cars", ["dead since 2023", "jessicali9530/stanford-cars-dataset"]),
        ("sun397", ["404", "8ca2778205c41d23104230ba66911c7a"]),
        ("imagenet", ["register", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"]),
    ],
)
def test_what_is_by_hand_is_said_once(root, name, words):
    texts = [step.text for step in plan(SOURCES[name], root) if step.run is None]
    assert len(texts) == 1
    assert [word in texts[0] for word in [*words, str(root)]] == [True] * (len(words) + 1)


def test_own_archive_without_an_address(build, root, helpers, monkeypatch):
    built = build("SUN397")
    archive = root / DOWNLOADS / "SUN397.tar.gz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(helpers.make_tar(helpers.files_below(built.images, "SUN397/")))
    remote = replace(SOURCES["sun397"].pieces[0].remote, md5=helpers.md5(archive.read_bytes()))
    pieces = (replace(SOURCES["sun397"].pieces[0], remote=remote),)
    source = replace(SOURCES["sun397"], pieces=pieces)
    (step,) = plan(source, root)
    step.run()
    assert helpers.files_below(root / "sun397" / "SUN397") == helpers.files_below(built.images)
    assert archive.is_file()  # the user's own


def test_other_split_file_is_left_alone(caltech, root, tool):
    assert tool("prepare_data", "caltech101", "--root", root)[0] == 0
    split = root / "caltech-101" / "split_zhou_Caltech101.json"
    other = split.read_bytes() + b"\n"
    split.write_bytes(other)
    code, output, _ = tool("prepare_data", "caltech101", "--root", root)
    assert code == 1
    assert "is not the published file" in output
    assert "other split" in output
    assert split.read_bytes() == other


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["oxford_pet"], "Did you mean oxford_pets?"),
        (["shapes_noise"], "this program renders it"),
        (["imagefolder"], "your own images"),
        ([], "Name at least one data set"),
    ],
)
@pytest.mark.parametrize("name", ["prepare_data", "check_data"])
def test_names(tool, root, name, names, words):
    code, _, errors = tool(name, *names, "--root", root)
    assert code == 1
    assert words in errors
    assert not root.exists()
