"""`simnl fit`: what it reads from a folder, and what it says of wrong ones. tests/e2e/test_wheel.py runs it."""

from __future__ import annotations

import re

import pytest

from simnl import FewShotClassifier
from simnl.classifier.command import labelled_pictures, run


def test_a_folder_of_classes(pictures, tmp_path, features_cache, monkeypatch, capsys):
    folder = pictures.folder / "train"
    names = {"dotted star": "star with dots", "solid heart": "heart", "striped square": "square with stripes"}
    paths, labels, found = labelled_pictures(folder)
    assert (paths, labels) == pictures["train"]
    assert found == {name: name for name in names}
    (folder / "classnames.txt").write_text("".join(f"{label}, {name}\n" for label, name in names.items()))
    try:
        assert labelled_pictures(folder)[2] == names
        monkeypatch.setenv("XDG_CACHE_HOME", str(features_cache))
        options = ["--method", "tip_adapter", "--backbone", "tiny", "--validation", "0.5", "--device", "cpu"]
        assert run([str(folder), str(tmp_path / "head.safetensors"), *options]) == 0
    finally:
        (folder / "classnames.txt").unlink()
    assert "TipAdapter on 3 pictures of 3 classes." in capsys.readouterr().out
    loaded = FewShotClassifier.load(tmp_path / "head.safetensors", device="cpu")
    assert loaded.classnames_ == list(names.values())
    assert loaded.classes_.tolist() == list(names)
    assert loaded.record_["protocol"] == "fewshot-val"


def test_wrong_places(pictures, tmp_path):
    empty = tmp_path / "empty"
    (empty / "class").mkdir(parents=True)
    cases = [
        (tmp_path / "none", "head", f"There is no folder {tmp_path / 'none'}."),
        (empty / "class", "head", "There is no class folder"),
        (empty, "head", "A class folder has no picture"),
        (pictures.folder / "train", "empty", f"{empty} is a folder. Name a file, such as {empty}/head.safetensors."),
    ]
    for folder, target, said in cases:
        with pytest.raises(OSError, match=re.escape(said)):
            run([str(folder), str(tmp_path / target)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]
