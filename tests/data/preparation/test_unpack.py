"""Archives that mean harm, break off or are damaged."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from simnl.data.preparation.unpack import TEMPORARY, find_member, unpacked


def tar_with(path: Path, name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Path:
    """A tar with a good member, then the one described."""
    with tarfile.open(path, "w:gz") as tar:
        for member, member_kind, link in (("good.txt", tarfile.REGTYPE, ""), (name, kind, target)):
            info = tarfile.TarInfo(member)
            info.type, info.linkname = member_kind, link
            info.size = 4 if member_kind == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"evil") if info.size else None)
    return path


def zip_with(path: Path, name: str, kind: int = stat.S_IFREG) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("good.txt", "good")
        info = zipfile.ZipInfo(name)
        info.external_attr = (kind | 0o644) << 16
        file.writestr(info, "../../evil")
    return path


MAKERS = {
    "tar, up": lambda path, out: (tar_with(path, "a/../../evil.txt"), "a/../../evil.txt"),
    "tar, absolute": lambda path, out: (tar_with(path, str(out / "evil.txt")), str(out / "evil.txt")),
    "tar, link out": lambda path, out: (tar_with(path, "way", tarfile.SYMTYPE, "../.."), "way"),
    "tar, absolute link": lambda path, out: (tar_with(path, "way", tarfile.SYMTYPE, str(out)), "way"),
    "tar, hard link out": lambda path, out: (tar_with(path, "way", tarfile.LNKTYPE, "../../secret"), "way"),
    "tar, link up inside": lambda path, out: (tar_with(path, "a/way", tarfile.SYMTYPE, "../good.txt"), "a/way"),
    "tar, pipe": lambda path, out: (tar_with(path, "pipe", tarfile.FIFOTYPE), "pipe"),
    "tar, character device": lambda path, out: (tar_with(path, "tty", tarfile.CHRTYPE), "tty"),
    "tar, block device": lambda path, out: (tar_with(path, "disk", tarfile.BLKTYPE), "disk"),
    "zip, up": lambda path, out: (zip_with(path, "../evil.txt"), "../evil.txt"),
    "zip, back-slashes": lambda path, out: (zip_with(path, "..\\evil.txt"), "..\\evil.txt"),
    "zip, absolute": lambda path, out: (zip_with(path, "/evil.txt"), "/evil.txt"),
    "zip, drive": lambda path, out: (zip_with(path, "C:/evil.txt"), "C:/evil.txt"),
    "zip, link": lambda path, out: (zip_with(path, "way", stat.S_IFLNK), "way"),
    "zip, pipe": lambda path, out: (zip_with(path, "pipe", stat.S_IFIFO), "pipe"),
    "zip, device": lambda path, out: (zip_with(path, "tty", stat.S_IFCHR), "tty"),
}


@pytest.mark.parametrize("kind", MAKERS)
def test_escaping_member_is_refused_by_name(tmp_path, kind):
    out = tmp_path / "outside"
    out.mkdir()
    archive, member = MAKERS[kind](tmp_path / "archive", out)
    with pytest.raises(ValueError, match="is refused") as error, unpacked(archive, tmp_path / "deep" / "data"):
        pytest.fail("it was unpacked")
    assert repr(member) in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["archive", "deep", "outside"]
    assert list(out.iterdir()) == list((tmp_path / "deep").glob("*/*")) == []


def test_member_that_goes_through_a_link(tmp_path):
    """A link that stays inside, and files below its name: they land inside, too."""
    archive = tmp_path / "archive"
    with tarfile.open(archive, "w") as tar:
        for name, kind, target in (
            ("b", tarfile.DIRTYPE, ""),
            ("a", tarfile.SYMTYPE, "b"),
            ("a/x", tarfile.REGTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode = kind, target, 0o755
            info.size = 4 * (kind == tarfile.REGTYPE)
            tar.addfile(info, io.BytesIO(b"good"))
    with unpacked(archive, tmp_path / "data") as content:
        assert (content / "b" / "x").read_bytes() == b"good"


def test_link_inside_is_fine(tmp_path):
    archive = tar_with(tmp_path / "archive", "other.txt", tarfile.SYMTYPE, "good.txt")
    with unpacked(archive, tmp_path / "data") as content:
        assert (content / "other.txt").read_bytes() == b"evil"


@pytest.mark.parametrize("packer", ["make_tar", "make_zip"])
def test_interrupted_unpacking_leaves_nothing(tmp_path, helpers, monkeypatch, packer):
    (tmp_path / "archive").write_bytes(getattr(helpers, packer)({f"images/{i}.jpg": b"x" for i in range(6)}))
    kind = tarfile.TarFile if packer == "make_tar" else zipfile.ZipFile
    extract, done = kind.extract, []

    def interrupted(self, *args, **kwargs):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(extract(self, *args, **kwargs))

    monkeypatch.setattr(kind, "extract", interrupted)
    with pytest.raises(KeyboardInterrupt), unpacked(tmp_path / "archive", tmp_path / "data"):
        pytest.fail("it was unpacked")
    assert len(done) == 3
    assert list((tmp_path / "data").iterdir()) == []


def test_leftovers_of_a_killed_run_go(tmp_path, helpers):
    (tmp_path / "archive").write_bytes(helpers.make_tar({"a.txt": b"x"}))
    left = tmp_path / "data" / f"{TEMPORARY}killed" / "images"
    left.mkdir(parents=True)
    with unpacked(tmp_path / "archive", tmp_path / "data") as content:
        assert os.listdir(tmp_path / "data") == [content.name]
    assert os.listdir(tmp_path / "data") == []


@pytest.mark.parametrize("packer", ["make_tar", "make_zip"])
def test_damaged_archive(tmp_path, helpers, packer):
    content = getattr(helpers, packer)({f"{i}.bin": os.urandom(5000) for i in range(9)})
    (tmp_path / "archive").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="damaged"), unpacked(tmp_path / "archive", tmp_path / "data"):
        pytest.fail("it was unpacked")


def test_archive_in_an_archive(tmp_path, helpers):
    inner = helpers.make_tar({"pictures/cat/1.jpg": b"cat"})
    outer = helpers.make_zip({"__MACOSX/set/._inner.tar.gz": b"junk", "set/inner.tar.gz": inner})
    (tmp_path / "outer.zip").write_bytes(outer)
    with unpacked(tmp_path / "outer.zip", tmp_path / "data", "inner.tar.gz") as content:
        assert (find_member(content, "pictures") / "cat" / "1.jpg").read_bytes() == b"cat"


def test_member_is_the_least_deep_one_or_an_error(tmp_path):
    for name in ("a/data/images", "data/images/data/images", "z"):
        (tmp_path / name).mkdir(parents=True)
    assert find_member(tmp_path, "data/images") == tmp_path / "data" / "images"
    with pytest.raises(ValueError, match="holds no jpg; it holds a, data, z"):
        find_member(tmp_path, "jpg")
