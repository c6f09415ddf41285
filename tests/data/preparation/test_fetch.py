"""Downloads, over the loopback interface."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest

from simnl.data.preparation.fetch import ATTEMPTS, FetchError, fetch
from simnl.data.preparation.sources import Remote

CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "downloads"


def remote(helpers, *urls: str, **fields) -> Remote:
    return Remote("data.bin", urls, **({"md5": helpers.md5(CONTENT)} | fields))


def test_download_and_nothing_the_second_time(site, folder, helpers):
    wanted = remote(helpers, site.add("data.bin", CONTENT))
    for _ in range(2):
        assert fetch(wanted, folder).read_bytes() == CONTENT
    assert site.requests == [("/data.bin", "")]
    assert os.listdir(folder) == ["data.bin"]


def test_dropped_connection_is_continued(site, folder, helpers):
    wanted = remote(helpers, site.add("data.bin", CONTENT))
    site.drop["/data.bin"] = 2
    assert fetch(wanted, folder).read_bytes() == CONTENT
    half, three_quarters = len(CONTENT) // 2, len(CONTENT) // 2 + len(CONTENT) // 4
    assert [asked for _, asked in site.requests] == ["", f"bytes={half}-", f"bytes={three_quarters}-"]


@pytest.mark.parametrize("md5", [True, False])
def test_part_of_an_earlier_run_is_continued(site, folder, helpers, md5):
    wanted = remote(helpers, site.add("data.bin", CONTENT), **({} if md5 else {"md5": ""}))
    site.drop["/data.bin"] = 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simnl.data.preparation.fetch.ATTEMPTS", 0)  # gives up at the first break
        with pytest.raises(FetchError, match="broke off"):
            fetch(wanted, folder)
    (part,) = folder.iterdir()
    assert part.name.endswith(".part")
    assert part.read_bytes() == CONTENT[: len(CONTENT) // 2]
    assert fetch(wanted, folder).read_bytes() == CONTENT
    assert site.requests[-1] == ("/data.bin", f"bytes={len(CONTENT) // 2}-")
    assert os.listdir(folder) == ["data.bin"]


def test_whole_part_needs_no_more_bytes(site, folder, helpers):
    wanted = remote(helpers, site.add("data.bin", CONTENT))
    folder.mkdir()
    (folder / "data.bin.part").write_bytes(CONTENT)
    assert fetch(wanted, folder).read_bytes() == CONTENT
    assert site.requests == [("/data.bin", f"bytes={len(CONTENT)}-")]


@pytest.mark.parametrize("left", [b"x" * 10, b"x" * (len(CONTENT) + 5)])
def test_wrong_part_is_fetched_anew(site, folder, helpers, left):
    wanted = remote(helpers, site.add("data.bin", CONTENT))
    folder.mkdir()
    (folder / "data.bin.part").write_bytes(left)
    assert fetch(wanted, folder).read_bytes() == CONTENT


def test_server_without_ranges_starts_over(site, folder, helpers):
    wanted = remote(helpers, site.add("data.bin", CONTENT))
    site.no_ranges, site.drop["/data.bin"] = True, 1
    assert fetch(wanted, folder).read_bytes() == CONTENT


def test_wrong_checksum_leaves_nothing(site, folder, helpers):
    wanted = remote(helpers, site.add("data.bin", b"another file"))
    with pytest.raises(FetchError, match=r"md5 is .*, not .*12 bytes"):
        fetch(wanted, folder)
    assert os.listdir(folder) == []


def test_mirrors_in_turn(site, folder, helpers):
    urls = [f"{site.address}/gone", site.add("wrong", b"wrong"), site.add("right", CONTENT), site.add("never", CONTENT)]
    assert fetch(remote(helpers, *urls), folder).read_bytes() == CONTENT
    assert [path for path, _ in site.requests] == ["/gone", "/wrong", "/right"]


def test_all_addresses_failing_are_listed(site, folder, helpers):
    site.add("short", CONTENT)
    site.drop["/short"] = 1000
    site.no_ranges = True
    urls = [f"{site.address}/gone", f"{site.address}/short", "http://127.0.0.1:9/refused"]
    with pytest.raises(FetchError) as error:
        fetch(remote(helpers, *urls), folder)
    lines = str(error.value).splitlines()
    assert [url in line for url, line in zip(urls, lines[1:], strict=True)] == [True] * 3
    assert "404" in lines[1]
    assert "broke off" in lines[2]
    assert sum(path == "/short" for path, _ in site.requests) == ATTEMPTS


@pytest.mark.parametrize(
    ("name", "page", "message"),
    [("images.tar.gz", b"<html>", "not an archive"), ("split.json", b"<html>", "not json"), ("a.mat", b"", "empty")],
)
def test_web_page_instead_of_a_file_without_checksum(site, folder, name, page, message):
    wanted = Remote(name, (site.add("page", page),))
    with pytest.raises(FetchError, match=message):
        fetch(wanted, folder)
    assert os.listdir(folder) == []


def test_damaged_finished_file_is_fetched_anew(site, folder, helpers):
    wanted = remote(helpers, site.add("data.bin", CONTENT))
    folder.mkdir()
    (folder / "data.bin").write_bytes(CONTENT[:-1])
    assert fetch(wanted, folder).read_bytes() == CONTENT


def test_own_copy_without_an_address_is_never_removed(folder, helpers):
    folder.mkdir()
    (folder / "data.bin").write_bytes(b"37 GB")
    with pytest.raises(FetchError, match="md5"):
        fetch(remote(helpers), folder)
    assert (folder / "data.bin").read_bytes() == b"37 GB"


def test_full_disk_is_said_before_the_download(site, folder, helpers, monkeypatch):
    wanted = remote(helpers, site.add("data.bin", CONTENT))
    usage = types.SimpleNamespace(free=1000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(OSError, match="GB are free"):
        fetch(wanted, folder)


def drive(monkeypatch, content: bytes | None) -> list[str]:
    """A gdown that gives `content`, or fails; returns the ids it is asked for."""
    asked = []

    def download(id: str, output: str, quiet: bool, resume: bool) -> str:
        asked.append(id)
        if content is None:
            raise LookupError("Too many users have viewed this file\nmore")
        Path(output).write_bytes(content)
        return output

    monkeypatch.setitem(sys.modules, "gdown", types.SimpleNamespace(download=download))
    return asked


def test_google_drive_after_the_addresses(site, folder, helpers, monkeypatch):
    asked = drive(monkeypatch, CONTENT)
    assert fetch(remote(helpers, f"{site.address}/gone", drive="abc"), folder).read_bytes() == CONTENT
    assert asked == ["abc"]
    assert os.listdir(folder) == ["data.bin"]


@pytest.mark.parametrize(("content", "message"), [(None, "Too many users"), (b"<html>", "md5")])
def test_google_drive_failing(folder, helpers, monkeypatch, content, message):
    drive(monkeypatch, content)
    with pytest.raises(FetchError, match=rf"uc\?id=abc: .*{message}"):
        fetch(remote(helpers, drive="abc"), folder)
    assert os.listdir(folder) == []


def test_missing_gdown_is_named(folder, helpers):
    with pytest.raises(FetchError, match="pip install gdown"):
        fetch(remote(helpers, drive="abc"), folder)
