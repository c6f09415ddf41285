"""Folders and files that this user may not read. Permission bits do not bind root, so the refusal is played."""

from __future__ import annotations

import builtins
import errno
import os
from pathlib import Path

import pytest

from simnl.runs.data_check import check, check_folder

FIX = "let this user read what is named below"


@pytest.fixture
def refuse(monkeypatch):
    """`refuse(path)`: from now on the folder cannot be listed, the file not be read."""

    def forbid(forbidden: Path) -> None:
        def guarded(function):
            def wrapped(path, *args, **kwargs):
                if not isinstance(path, int) and os.path.abspath(path) == str(forbidden):
                    raise PermissionError(errno.EACCES, "Permission denied", str(path))
                return function(path, *args, **kwargs)

            return wrapped

        monkeypatch.setattr(os, "scandir", guarded(os.scandir))
        monkeypatch.setattr(Path, "read_bytes", guarded(Path.read_bytes))
        monkeypatch.setattr(builtins, "open", guarded(open))

    return forbid


def test_one_data_set_that_may_not_be_read_does_not_hide_the_others(build, root, tool, refuse):
    built = build("Food101", root)
    build("DescribableTextures", root)
    refuse(built.images / "tacos")
    code, output, errors = tool("check_data", "food101", "dtd", "--root", root)
    assert (code, errors) == (1, "")
    assert f"food101: [Errno 13] Permission denied: '{built.images}/tacos'" in output
    assert FIX in output
    assert "dtd: 3 classes were found, 47 are expected" in output


@pytest.mark.parametrize("option", [["--dry-run"], []])
def test_preparing_goes_on_with_the_others(caltech, build, root, tool, refuse, option):
    built = build("Food101", root)
    refuse(built.images)
    code, output, _ = tool("prepare_data", "food101", "caltech101", "--root", root, *option)
    assert code == 1
    assert f"Permission denied: '{built.images}': {FIX}" in output
    assert "download caltech-101.zip" in output
    assert (root / "caltech-101" / "101_ObjectCategories").exists() == (not option)


def test_split_file(build, root, refuse):
    built = build("Food101", root)
    refuse(built.folder / "split_zhou_Food101.json")
    report = check("food101", root)
    assert (report.state, report.found) == ("not readable", None)
    assert FIX in report.fix


def test_image_while_looking_for_duplicates(build, miniature, root, tmp_path, refuse):
    built = build("ImageNetA", root)
    miniature("ImageNetA", built)
    path = built.images / built.parts["test"][0][0]
    refuse(path)
    assert check("imagenet_a", root).right  # its content does not matter there
    report = check("imagenet_a", root, cache=tmp_path / "cache")
    assert report.state == "not readable"
    assert str(path) in report.problem


def test_own_folder(build, root, tmp_path, refuse):
    built = build("ImageFolder", root)
    refuse(built.images / "train" / "x1")
    report = check_folder(built.images, tmp_path / "cache")
    assert report.state == "not readable"
    assert str(built.images / "train" / "x1") in report.problem
    assert FIX in report.fix
