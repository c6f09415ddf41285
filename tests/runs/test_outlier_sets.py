"""Published sets of unknown images: layouts, checks, preparation, and what a run says of them."""

from __future__ import annotations

import tarfile

import pytest

from helpers.images import make_images
from simnl.config_names import known
from simnl.data.preparation.names import chosen
from simnl.data.preparation.prepare import plan
from simnl.runs.outlier_sets import check_outliers, declared, load, source_of


def test_every_file_declares_a_set():
    sets = {name: declared(name) for name in known("outliers")}
    assert {name for name, one in sets.items() if one.distance == "near"} == {"openood_ssb_hard", "openood_ninco"}
    assert {name: one.count for name, one in sets.items() if name.startswith("mos_")} == {
        "mos_inaturalist": 10000, "mos_sun": 10000, "mos_places": 10000, "mos_textures": 5640
    }  # fmt: skip
    for name, one in sets.items():
        source = source_of(name)
        assert source.folder == one.folder
        assert one.images in [piece.target for piece in source.pieces]
        assert source.by_hand or any(piece.remote and piece.remote.address for piece in source.pieces)
    assert chosen(["mos_sun", "mos_sun"], False) == ["mos_sun"]


def test_a_folder_of_images(tmp_path):
    one = declared("mos_sun")
    with pytest.raises(
        FileNotFoundError, match=r"mos_sun: there is no folder .*SUN/images.*prepare_data\.py mos_sun --root"
    ):
        load(one, str(tmp_path))
    assert check_outliers("mos_sun", tmp_path).state == "missing"
    make_images(tmp_path / "SUN" / "images", 3, size=8)
    found = load(one, str(tmp_path))
    assert (len(found.paths), list(found.classnames), found.distance) == (3, [], "far")
    report = check_outliers("mos_sun", tmp_path)
    assert (report.state, report.problem) == ("wrong image count", "3 test images were found, 10000 are expected")
    make_images(tmp_path / "dtd" / "images" / "banded", 2, size=8)
    assert list(load(declared("mos_textures"), str(tmp_path)).classnames) == ["banded"]  # known to a run on dtd


def test_a_list_says_which_images(tmp_path):
    one = declared("openood_openimage_o")
    folder = tmp_path / "images_largescale" / "openimage_o" / "images"
    make_images(folder, 3, size=8)
    names = sorted(path.name for path in folder.iterdir())
    (tmp_path / one.listed).parent.mkdir(parents=True)
    (tmp_path / one.listed).write_text("".join(f"openimage_o/images/{name} -1\n" for name in names[:2]))
    assert load(one, str(tmp_path)).paths == [str(folder / name) for name in names[:2]]
    assert check_outliers(one.name, tmp_path).right  # its published number is not known for sure
    (folder / names[0]).unlink()
    with pytest.raises(FileNotFoundError, match=f"1 of 2 images of .* are not in .*: openimage_o/images/{names[0]}"):
        load(one, str(tmp_path))
    (tmp_path / one.listed).unlink()
    assert check_outliers(one.name, tmp_path).state == "missing"


def test_what_is_left_to_do(tmp_path):
    (by_hand,) = [step for step in plan(source_of("openood_ninco"), tmp_path) if step.run is None]
    assert (
        f"{tmp_path}/images_largescale/ninco and {tmp_path}/benchmark_imglist/imagenet/test_ninco.txt" in by_hand.text
    )
    (step,) = plan(source_of("mos_places"), tmp_path)
    assert step.text.startswith("download Places.tar.gz from http://pages.cs.wisc.edu/")
    make_images(tmp_path / "made" / "Places" / "images", 2, size=8)
    (tmp_path / ".downloads").mkdir()
    with tarfile.open(tmp_path / ".downloads" / "Places.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "made" / "Places", "Places")
    (step,) = plan(source_of("mos_places"), tmp_path)
    step.run()  # from the archive that is there
    assert len(load(declared("mos_places"), str(tmp_path)).paths) == 2
