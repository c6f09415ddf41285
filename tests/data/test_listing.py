"""Where a folder is that a user names."""

from __future__ import annotations

from pathlib import Path

import pytest

from simnl.data.listing import find_folder, lasting_name, no_folder


@pytest.fixture
def places(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """A data root and a current folder."""
    (tmp_path / "data").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "data", tmp_path / "here"


@pytest.mark.parametrize("name", ["mine", "more/mine", "./mine"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_folder_is_below_the_data_root_or_below_the_current_folder(places, name, first):
    root, here = places
    preferred = (here if name.startswith(".") else root) / name
    assert find_folder(name, str(root)) == preferred  # there is none
    said = no_folder(name, str(root))
    assert all(f" no folder {place / name}" in said for place in places)
    (places[first] / name).mkdir(parents=True)
    assert find_folder(name, str(root)) == places[first] / name
    (places[1 - first] / name).mkdir(parents=True)
    assert find_folder(name, str(root)) == preferred
    assert no_folder(str(here / "none"), str(root)) == f"there is no folder {here}/none"


def test_a_name_that_lasts_means_the_same_in_other_folders(places, monkeypatch):
    root, here = places
    (here / "mine").mkdir()
    (root / "data set").mkdir()
    names = ["data set", "./data set", "mine", "./mine", "../here/mine", str(here / "mine")]
    found = {name: find_folder(name, str(root)) for name in names}
    lasting = {name: lasting_name(name, str(root)) for name in names}
    assert lasting["data set"] == "data set"
    monkeypatch.chdir("/")
    assert {name: find_folder(other, str(root)) for name, other in lasting.items()} == found
