"""Full disks, and roots that cannot be written."""

from __future__ import annotations

import builtins
import errno
import os
import re
import tarfile
from pathlib import Path

import pytest

from simnl.data.preparation.sources import DOWNLOADS


def refusing(error: OSError, name: str, function):
    """`function`, which fails where the first argument is a path that ends with `name`."""

    def wrapped(path, *args, **kwargs):
        if str(path).endswith(name):
            raise error
        return function(path, *args, **kwargs)

    return wrapped


def test_no_space_left_for_the_download(caltech, site, root, tool, monkeypatch):
    """The disk is full after half of the archive: the half stays and is continued."""
    full = OSError(errno.ENOSPC, "No space left on device")
    opened = open

    def half(path, mode="r", **options):
        file = opened(path, mode, **options)
        if str(path).endswith("caltech-101.zip.part"):
            write = file.raw.write if hasattr(file, "raw") else file.write
            write(site.files["/caltech-101.zip"][:100])
            file.close()
            raise full
        return file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", half)
        code, output, errors = tool("prepare_data", "caltech101", "--root", root)
    assert code == 1
    assert re.search(r"caltech-101.zip.part could not be written \(.*No space left on device\)", output)
    assert "Traceback" not in output + errors
    assert not (root / "caltech-101" / "101_ObjectCategories").exists()
    assert (root / DOWNLOADS / "caltech-101.zip.part").stat().st_size == 100
    assert tool("prepare_data", "caltech101", "--root", root)[0] == 0
    assert ("/caltech-101.zip", "bytes=100-") in site.requests


def test_no_space_left_for_the_images(caltech, root, tool, monkeypatch):
    taken = []

    def extract(self, member, *args, **kwargs):
        taken.append(member.name)
        if len(taken) > 3:
            raise OSError(errno.ENOSPC, "No space left on device", member.name)
        return extract_one(self, member, *args, **kwargs)

    extract_one = tarfile.TarFile.extract
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extract", extract)
        code, output, _ = tool("prepare_data", "caltech101", "--root", root)
    assert code == 1
    assert re.search(
        r"101_ObjectCategories.tar.gz could not be unpacked .*No space left.*\. Nothing of it is kept\.", output
    )
    assert os.listdir(root / "caltech-101") == ["split_zhou_Caltech101.json"]
    assert tool("prepare_data", "caltech101", "--root", root)[0] == 0


def test_root_that_may_not_be_written(caltech, root, tool, monkeypatch):
    refused = PermissionError(errno.EACCES, "Permission denied", str(root / DOWNLOADS))
    monkeypatch.setattr(Path, "mkdir", refusing(refused, DOWNLOADS, Path.mkdir))
    code, _, errors = tool("prepare_data", "caltech101", "--root", root)
    assert code == 1
    assert f"Permission denied: '{root / DOWNLOADS}'" in errors
    assert not root.exists()


def test_root_that_is_a_file(caltech, root, tool):
    root.write_text("not a folder")
    for name in ("prepare_data", "check_data"):
        code, output, errors = tool(name, "caltech101", "--root", root)
        assert code == 1
        assert str(root) in output + errors
        assert "Traceback" not in output + errors
