"""Archives that hold absurdly much, say less than they hold, or more than the disk has room for."""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import tarfile
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from simnl.data.preparation import sizes
from simnl.data.preparation.catalogue import SOURCES
from simnl.data.preparation.sizes import Bounded, require_sane
from simnl.data.preparation.unpack import unpacked

ZEROS = 3_000_000  # bytes, of a bomb in small


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch):
    """What is harmless here is small, so that the bombs can be small, too."""
    monkeypatch.setattr(sizes, "HARMLESS", 1_000_000)


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return path


def tarred(path: Path, files: dict[str, bytes], compression: str = "gz") -> Path:
    with tarfile.open(path, f"w:{compression}") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def sparse(path: Path, size: int) -> Path:
    """A tar whose only file has no data, but `size` bytes of holes (GNU's format of sparse files)."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        info = tarfile.TarInfo("holes.jpg")
        info.type = tarfile.GNUTYPE_SPARSE
        block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
        block[386 : 386 + 24] = b"%011o\0" % size + b"%011o\0" % 0  # one piece without data, at the end
        block[483 : 483 + 12] = b"%011o\0" % size
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
        tar.fileobj.write(bytes(block))
        tar.offset += len(block)
    return path


def nothing_is_kept(folder: Path) -> bool:
    return not folder.exists() or list(folder.iterdir()) == []


BOMBS = {
    "zip, one file": lambda path: zipped(path, {"a.jpg": bytes(ZEROS)}),
    "zip, many files": lambda path: zipped(path, {f"{i}.jpg": bytes(ZEROS // 30) for i in range(30)}),
    "tar.gz, one file": lambda path: tarred(path, {"a.jpg": bytes(ZEROS)}),
    "tar.gz, many files": lambda path: tarred(path, {f"{i}.jpg": bytes(ZEROS // 30) for i in range(30)}),
    "tar.bz2": lambda path: tarred(path, {"a.jpg": bytes(ZEROS)}, "bz2"),
    "tar.xz": lambda path: tarred(path, {"a.jpg": bytes(ZEROS)}, "xz"),
    "tar, holes": lambda path: sparse(path, ZEROS),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bomb_is_refused_before_anything_is_written(tmp_path, kind, monkeypatch):
    archive = BOMBS[kind](tmp_path / "archive")
    for packer in (tarfile.TarFile, zipfile.ZipFile):
        monkeypatch.setattr(packer, "extract", lambda *_, **__: pytest.fail("something is written"))
    with (
        pytest.raises(ValueError, match="is refused and nothing of it is kept") as error,
        unpacked(archive, tmp_path / "data"),
    ):
        pytest.fail("it was unpacked")
    text = str(error.value)
    assert re.search(r"archive \([\d,]+ bytes\)", text)
    assert re.search(r"would unpack to [\d,]+ bytes or more", text)
    assert "at most 20 times its size (1,000,000 bytes)" in text
    assert "Get it elsewhere" in text
    assert nothing_is_kept(tmp_path / "data")


def test_archive_of_images_is_admitted(tmp_path):
    files = {f"{i}.jpg": os.urandom(90_000) for i in range(30)}
    for archive in (
        zipped(tmp_path / "a.zip", files),
        tarred(tmp_path / "a.tgz", files),
        tarred(tmp_path / "b", files, ""),
    ):
        content = require_sane(archive, tmp_path)
        assert (content.members, content.size) == (30, 2_700_000)
        assert content.on_disk == 30 * 22 * sizes.BLOCK
        with unpacked(archive, tmp_path / "data") as folder:
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == files


@pytest.mark.parametrize("maker", [zipped, tarred])
def test_too_many_files(tmp_path, maker, monkeypatch):
    monkeypatch.setattr(sizes, "MEMBERS", 9)
    require_sane(maker(tmp_path / "fits", {f"{i}.txt": b"" for i in range(9)}), tmp_path)
    with pytest.raises(ValueError, match="would unpack to more than 9 files"):
        require_sane(maker(tmp_path / "archive", {f"{i}.txt": b"" for i in range(10)}), tmp_path)


@pytest.mark.parametrize("maker", [zipped, tarred])
def test_disk_that_will_be_full_is_told_first(tmp_path, maker, monkeypatch):
    archive = maker(tmp_path / "archive.bin", {"a.jpg": os.urandom(500_000)})
    monkeypatch.setattr("shutil.disk_usage", lambda path: types.SimpleNamespace(free=499_000))
    with (
        pytest.raises(OSError, match=r"archive.bin \(1 files\) needs 0.00 GB below .* are free. Make room") as error,
        unpacked(archive, tmp_path / "data"),
    ):
        pytest.fail("it was unpacked")
    assert f"below {tmp_path}/data, but only" in str(error.value)
    assert nothing_is_kept(tmp_path / "data")


def test_bomb_inside_an_archive(tmp_path):
    inner = tarred(tmp_path / "inner.tar.gz", {"a.jpg": bytes(ZEROS)})
    outer = zipped(tmp_path / "outer.zip", {"set/inner.tar.gz": inner.read_bytes()})
    with (
        pytest.raises(ValueError, match="inner.tar.gz .* is refused"),
        unpacked(outer, tmp_path / "data", "inner.tar.gz"),
    ):
        pytest.fail("it was unpacked")
    assert nothing_is_kept(tmp_path / "data")


# ------------------------------------------------------------------------------------ lying headers
def lying_zip(path: Path, declared: int) -> Path:
    """A zip whose lists say `declared` bytes of a file that has ZEROS, with the checksum of as many."""
    zipped(path, {"a.jpg": bytes(ZEROS)})
    content = bytearray(path.read_bytes())
    checksum = zipfile.crc32(bytes(declared))
    local, central = content.index(b"PK\x03\x04"), content.index(b"PK\x01\x02")
    content[local + 14 : local + 18] = content[central + 16 : central + 20] = struct.pack("<I", checksum)
    content[local + 22 : local + 26] = content[central + 24 : central + 28] = struct.pack("<I", declared)
    path.write_bytes(content)
    return path


def test_zip_that_says_less_than_it_holds(tmp_path, monkeypatch):
    """Never more is written than was declared, and admitted."""
    archive = lying_zip(tmp_path / "archive", 1000)
    assert require_sane(archive, tmp_path).size == 1000
    with unpacked(archive, tmp_path / "data") as folder:
        assert (folder / "a.jpg").stat().st_size == 1000
    assert nothing_is_kept(tmp_path / "data")


def test_zip_that_says_more_than_it_holds(tmp_path):
    archive = zipped(tmp_path / "archive", {"a.jpg": b"short"})
    content = archive.read_bytes()
    central = content.index(b"PK\x01\x02")
    archive.write_bytes(content[: central + 24] + struct.pack("<I", 900_000) + content[central + 28 :])
    with (
        pytest.raises(ValueError, match=r"damaged|'a.jpg' has 5 bytes, not the 900,000 that the archive declares"),
        unpacked(archive, tmp_path / "data"),
    ):
        pytest.fail("it was unpacked")
    assert nothing_is_kept(tmp_path / "data")


@pytest.mark.parametrize("maker", [zipped, tarred])
def test_library_that_writes_too_much_is_caught(tmp_path, maker, monkeypatch):
    archive = maker(tmp_path / "archive", {"a.jpg": b"12345", "b.jpg": b"12345"})
    kind = zipfile.ZipFile if maker is zipped else tarfile.TarFile
    extract = kind.extract

    def more(self, member, folder, **options):
        path = extract(self, member, folder, **options)
        with open(Path(folder, "a.jpg"), "ab") as file:
            file.write(b"more")
        return path

    monkeypatch.setattr(kind, "extract", more)
    with (
        pytest.raises(ValueError, match=r"its member 'a.jpg' has 9 bytes, not the 5 that the archive declares"),
        unpacked(archive, tmp_path / "data"),
    ):
        pytest.fail("it was unpacked")
    assert nothing_is_kept(tmp_path / "data")


def test_bomb_behind_the_end_of_a_tar(tmp_path):
    """What is decompressed counts, not only what is listed."""
    tarred(tmp_path / "plain", {"a.jpg": b"12345"}, "")
    archive = tmp_path / "archive"
    archive.write_bytes(gzip.compress((tmp_path / "plain").read_bytes() + bytes(ZEROS)))
    with pytest.raises(ValueError, match="is refused"), unpacked(archive, tmp_path / "data"):
        pytest.fail("it was unpacked")
    assert nothing_is_kept(tmp_path / "data")


def test_header_that_asks_for_all_of_a_bomb(tmp_path, monkeypatch):
    """A long name lies in memory as a whole, so a name of gigabytes would fill that."""
    monkeypatch.setattr(sizes, "STEP", 100_000)
    archive = tarred(tmp_path / "archive", {"x" * 200_000: b"12345"})
    with pytest.raises(ValueError, match="would unpack to a header of 200,192 bytes"):
        require_sane(archive, tmp_path)


def test_is_tar_looks_at_the_beginning_only(tmp_path, monkeypatch):
    for compression in ("", "gz", "bz2", "xz"):
        assert sizes.is_tar(tarred(tmp_path / "a", {"a.jpg": b"12345"}, compression))
    (tmp_path / "page").write_bytes(b"<html>" * 200)
    (tmp_path / "page.gz").write_bytes(gzip.compress(b"<html>" * 200))
    (tmp_path / "cut").write_bytes((tmp_path / "a").read_bytes()[:20])
    monkeypatch.setattr(sizes, "STEP", 100_000)
    tarred(tmp_path / "bomb", {"x" * 200_000: b"12345"})
    assert not any(sizes.is_tar(tmp_path / name) for name in ("page", "page.gz", "cut", "bomb"))


def test_bounded_stream(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    stream = Bounded(io.BytesIO(bytes(range(100))), tmp_path / "a", 50)
    assert stream.read(51) == bytes(range(51))
    for attempt in (lambda: stream.read(1), lambda: stream.seek(51)):
        with pytest.raises(sizes.Absurd, match="51 bytes or more"):
            attempt()
    assert stream.seek(50) == stream.tell() == 50


# --------------------------------------------------------------------------------------- the tool
def test_tool_says_what_is_refused_and_where(site, build, miniature, root, tool, helpers, monkeypatch):
    built = build("FGVCAircraft")
    miniature("FGVCAircraft", built)
    files = helpers.files_below(built.folder, "fgvc-aircraft-2013b/data/")
    bomb = helpers.make_tar(files | {"fgvc-aircraft-2013b/data/images/bomb.jpg": bytes(ZEROS)})
    helpers.serve(monkeypatch, site, helpers, "fgvc_aircraft", {"fgvc-aircraft-2013b.tar.gz": bomb})
    code, output, _ = tool("prepare_data", "fgvc_aircraft", "--root", root)
    assert code == 1
    assert re.search(r"fgvc-aircraft-2013b.tar.gz \([\d,]+ bytes\) is refused .* It is removed", output)
    assert os.listdir(root / "fgvc_aircraft") == []
    assert [path.name for path in (root / ".downloads").iterdir() if path.name != ".lock"] == []


def test_own_archive_that_is_refused_stays(root, helpers, build, monkeypatch, tool):
    archive = root / ".downloads" / "SUN397.tar.gz"
    archive.parent.mkdir(parents=True)
    archive.write_bytes(helpers.make_tar({"SUN397/a.jpg": bytes(ZEROS)}))
    images = SOURCES["sun397"].pieces[0]
    piece = replace(images, remote=replace(images.remote, md5=helpers.md5(archive.read_bytes())))
    monkeypatch.setitem(SOURCES, "sun397", replace(SOURCES["sun397"], pieces=(piece,)))
    code, output, _ = tool("prepare_data", "sun397", "--root", root)
    assert code == 1
    assert f"if you trust it, unpack it yourself. It is {archive}." in output
    assert archive.is_file()
