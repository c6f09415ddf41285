"""FGVCAircraft's own lists, and what is wrong with them."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(
    ("file", "text", "error", "message"),
    [
        ("variants.txt", None, FileNotFoundError, "no file .*variants.txt"),
        ("variants.txt", "707-320\n707-320\n", ValueError, "a variant is listed twice"),
        ("variants.txt", "707-320\n", ValueError, "line 7: 'F/A-18' is not listed in variants.txt"),
        ("images_variant_val.txt", None, FileNotFoundError, "no file .*images_variant_val.txt"),
        ("images_variant_val.txt", "\n", ValueError, "images_variant_val.txt is empty"),
        ("images_variant_val.txt", "0000000 707-320\n0000000 707-320\n", ValueError, "are the same image"),
        ("images_variant_test.txt", "../up F/A-18\n", ValueError, "must name a file inside"),
        ("images_variant_train.txt", "0000000 707-320\n", ValueError, "has no training image"),
    ],
)
def test_broken_lists(file, text, error, message, build, load):
    path = build("FGVCAircraft").folder / file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(error, match=message):
        load("FGVCAircraft")


def test_split_file_instead_of_lists(build, load, tmp_path):
    built = build("FGVCAircraft")
    path = tmp_path / "split.json"
    path.write_text(json.dumps(built.parts))
    assert load("FGVCAircraft", SPLIT_FILE=str(path)).split_hash == load("FGVCAircraft").split_hash
