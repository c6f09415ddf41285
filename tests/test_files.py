"""Files are whole or not there."""

from __future__ import annotations

import errno
import os

import pytest

from simnl.files import replacing, write_text_atomically


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
