"""Files are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from simnl.files import check_target, replacing, write_text_atomically


def test_writes_into_new_folders_and_over_old_files(tmp_path):
    path = tmp_path / "a" / "b.txt"
    for text in ("first", "größer"):
        write_text_atomically(path, text)
        assert path.read_text(encoding="utf-8") == text
    assert os.listdir(path.parent) == ["b.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    path = tmp_path / "b.txt"
    path.write_text("old")

    def fail():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["b.txt"]


def test_the_name_is_free_until_the_end(tmp_path):
    path = tmp_path / "b.txt"
    with replacing(path) as one, replacing(path) as other:
        assert one != other
        one.write_text("1")
        other.write_text("2")
        assert not path.exists()
    assert path.read_text() == "1"  # the outer block ends last


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "b.txt"),
        (FileNotFoundError(errno.ENOENT, "No such file", "other.txt"), "other.txt"),
    ],
)
def test_an_error_of_the_system_names_the_file(tmp_path, error, named):
    with pytest.raises(type(error), match=named) as caught, replacing(tmp_path / "b.txt"):
        raise error
    assert caught.value.errno == error.errno


def test_a_message_without_number_stays(tmp_path):
    with pytest.raises(OSError, match="^cannot write mode F$"), replacing(tmp_path / "b.txt"):
        raise OSError("cannot write mode F")


def test_a_target_is_refused_before_the_work_if_it_cannot_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text_atomically(Path("file"), "old")
    os.mkfifo("pipe")
    for path, said in (
        (".", r"\. is a folder. Name a file, such as head.json"),
        ("file/a/b.json", "file/a/b.json cannot be written, because file is not a folder"),
        ("pipe", "pipe is a device or a pipe"),
    ):
        with pytest.raises(OSError, match=said):
            check_target(Path(path), "head.json")
    check_target(Path("file"), "head.json")
    check_target(tmp_path / "new" / "folder" / "a.json", "head.json")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="new/a.json may not be written"):
        check_target(Path("new/a.json"), "head.json")
    assert sorted(os.listdir()) == ["file", "pipe"]
