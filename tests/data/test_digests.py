"""Digests of files are remembered, and what is remembered is checked."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

from helpers.damage import flip
from helpers.images import make_images
from simnl.data.digests import FileDigests


def test_they_are_those_of_the_content_in_the_order_asked_for(tmp_path):
    files = make_images(tmp_path / "images", 3)
    expected = [hashlib.sha256(Path(file).read_bytes()).digest() for file in files]
    digests = FileDigests(tmp_path / "store")
    assert digests.of(files) == expected
    assert digests.of(files[::-1]) == expected[::-1]


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path, monkeypatch):
    files = make_images(tmp_path / "images", 3)
    before = FileDigests(tmp_path / "store").of(files)
    Path(files[1]).write_bytes(b"other")
    read, read_bytes = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda self: read.append(str(self)) or read_bytes(self))
    after = FileDigests(tmp_path / "store").of(files)
    assert read == [str(files[1])]
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, False, True]


def test_a_broken_table_is_built_anew(tmp_path, caplog):
    files = make_images(tmp_path / "images", 3)
    expected = FileDigests(tmp_path / "store").of(files)
    (tmp_path / "store" / "files.sqlite").write_bytes(b"garbage" * 500)
    assert FileDigests(tmp_path / "store").of(files) == expected
    assert "is damaged" in caplog.text


def test_rows_of_the_table_of_digests_are_checked(tmp_path, caplog):
    files = make_images(tmp_path / "images", 20)
    expected = FileDigests(tmp_path / "store").of(files)
    table, rng = tmp_path / "store" / "files.sqlite", random.Random(5)
    content = table.read_bytes()
    for _ in range(150):
        table.write_bytes(flip(content, rng.randrange(8 * len(content))))
        assert FileDigests(tmp_path / "store").of(files) == expected
    place = content.index(expected[3])
    table.write_bytes(flip(content, 8 * place + 3))
    caplog.clear()
    assert FileDigests(tmp_path / "store").of(files) == expected
    assert f"1 rows of {table} are damaged, so their files are read again" in caplog.text
    caplog.clear()
    assert FileDigests(tmp_path / "store").of(files) == expected
    assert not caplog.text
