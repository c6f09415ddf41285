"""Archives that mean harm, break off or are damaged."""

from __future__ import annotations

import errno
import gzip
import io
import lzma
import os
import stat
import struct
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
    with pytest.raises(ValueError, match="holds no jpg, but it holds a, data, z"):
        find_member(tmp_path, "jpg")


# ------------------------------------------------------------------------------------ damaged in odd ways
def pax(path: Path, **headers: str) -> Path:
    """A tar whose second member has these PAX headers."""
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, own in (("good.txt", {}), ("odd.txt", headers)):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = 4, own
            tar.addfile(info, io.BytesIO(b"text"))
    return path


def patched_zip(path: Path, *places: tuple[int, int, bytes], name: str = "odd.txt") -> Path:
    """A zip whose second member has other bytes at an offset of its local and of its central header."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("good.txt", "good")
        file.writestr(name, "text" * 9)
    content = bytearray(path.read_bytes())
    for local, central, new in places:
        for start, at in ((content.rindex(b"PK\x03\x04"), local), (content.rindex(b"PK\x01\x02"), central)):
            if at:
                content[start + at : start + at + len(new)] = new
    path.write_bytes(content)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def twice(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a.txt", "one")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a.txt", "two")
    return path


def nameless(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("good.txt", "good")
        info = zipfile.ZipInfo("x")
        info.filename = ""
        file.writestr(info, "text")
    return path


def nameless_tar(path: Path) -> Path:
    return tar_with(path, "")


ODD = {
    "tar, time of infinity": lambda path: pax(path, mtime="inf"),
    "tar, no time": lambda path: pax(path, mtime="nan"),
    "tar, huge time": lambda path: pax(path, mtime="1e300"),
    "tar, very negative time": lambda path: pax(path, mtime="-1e300"),
    "tar, negative size": lambda path: pax(path, size="-512"),
    "tar, sparse map of words": lambda path: pax(path, **{"GNU.sparse.map": "a,b", "GNU.sparse.size": "9"}),
    "tar, no name": nameless_tar,
    "gz, garbage behind": lambda path: written(path, pax(path).read_bytes() + b"garbage"),
    "gz, wrong check sum": lambda path: written(path, pax(path).read_bytes()[:-8] + b"\0" * 8),
    "gz, a web page": lambda path: written(path, gzip.compress(b"<html>" * 99)),
    "web page": lambda path: written(path, b"<html>" * 99),
    "xz, cut off": lambda path: written(path, lzma.compress(bytes(20_000))[:-20]),
    "bz2, broken": lambda path: written(path, b"BZh9" + bytes(99)),
    "empty": lambda path: written(path, b""),
    "zip, no name": nameless,
    "zip, encrypted": lambda path: patched_zip(path, (6, 8, b"\x01\0")),
    "zip, method 99": lambda path: patched_zip(path, (8, 10, b"\x63\0")),
    "zip, version of the future": lambda path: patched_zip(path, (4, 6, b"\xff\0")),
    "zip, wrong check sum": lambda path: patched_zip(path, (14, 16, b"\x01\x02\x03\x04")),
    "zip, broken content": lambda path: patched_zip(path, (30 + 7, 0, b"\xff\xff\xff\xff")),
    "zip, member elsewhere": lambda path: patched_zip(path, (0, 42, b"\xff\xff\xff\x7f")),
    "zip, zip64 nonsense": lambda path: patched_zip(path, (0, 24, b"\xff\xff\xff\xff")),
    "zip, a file that is the folder": lambda path: patched_zip(path, name="."),
    "zip, two contents": twice,
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_archive_is_named_and_nothing_is_kept(tmp_path, kind):
    archive = ODD[kind](tmp_path / "archive")
    with pytest.raises(ValueError, match="^archive ") as error, unpacked(archive, tmp_path / "data"):
        pytest.fail("it was unpacked")
    assert "\n" not in str(error.value)
    assert list((tmp_path / "data").iterdir()) == []


@pytest.mark.parametrize(
    "error", [RuntimeError("odd"), MemoryError(), struct.error("x"), UnicodeDecodeError("a", b"", 0, 1, "b")]
)
def test_whatever_a_library_raises_is_damage(tmp_path, helpers, monkeypatch, error):
    (tmp_path / "archive").write_bytes(helpers.make_zip({"a.txt": b"x"}))

    def extract(*_, **__):
        raise error

    monkeypatch.setattr(zipfile.ZipFile, "extract", extract)
    with pytest.raises(ValueError, match="archive is damaged"), unpacked(tmp_path / "archive", tmp_path / "data"):
        pytest.fail("it was unpacked")


def test_disk_at_fault_is_no_damage(tmp_path, helpers, monkeypatch):
    (tmp_path / "archive").write_bytes(helpers.make_zip({"a.txt": b"x"}))

    def extract(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extract", extract)
    with (
        pytest.raises(OSError, match="could not be unpacked below .*No space left"),
        unpacked(tmp_path / "archive", tmp_path / "data"),
    ):
        pytest.fail("it was unpacked")
