"""`simnl fit`: what it reads from a folder, and what it says of wrong ones. tests/e2e/test_wheel.py runs it."""

from __future__ import annotations

import re
import warnings

import pytest

from simnl import FewShotClassifier
from simnl.classifier.command import build_parser, labelled_pictures, run


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
    for name in ("class", "other"):
        (empty / name).mkdir(parents=True)
    cases = [
        (tmp_path / "none", "head", f"There is no folder {tmp_path / 'none'}."),
        (empty / "class", "head", "There is no class folder"),
        (empty, "head", "A class folder has no picture"),
        (pictures.folder / "train", "new/picture.png/head", "new/picture.png is not a folder"),
        (pictures.folder / "train", "new/picture.png", "new/picture.png exists and is not a head file"),
        (pictures.folder / "train", "empty", f"{empty} is a folder. Name a file, such as {empty}/head.safetensors."),
    ]
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "picture.png").write_bytes(b"mine")
    for folder, target, said in cases:
        with pytest.raises(OSError, match=re.escape(said)):
            run([str(folder), str(tmp_path / target)])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]
    assert (tmp_path / "new" / "picture.png").read_bytes() == b"mine"
    (empty / "other").rmdir()
    with pytest.raises(ValueError, match="empty has one class folder, class, but two or more classes are needed"):
        run([str(empty), str(tmp_path / "head")])


def test_what_may_be_held_out(capsys):
    assert build_parser().parse_args(["a", "b", "--validation", "held-shot"]).validation == "held-shot"
    assert build_parser().parse_args(["a", "b", "--validation", "0.25"]).validation == 0.25
    for word in ("1", "nan", "some"):
        with pytest.raises(SystemExit):
            build_parser().parse_args(["a", "b", "--validation", word])
        assert f"'{word}' is neither a share between 0 and 1 nor held-shot" in capsys.readouterr().err


def test_without_a_backbone_a_note_says_in_words_of_the_command_what_to_type(pictures, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    words = [str(pictures.folder / "train"), str(tmp_path / "head"), "--method", "zeroshot", "--device", "cpu"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(words) == 0
        assert "such as --backbone vit_b16" in capsys.readouterr().err
        assert run([*words, "--backbone", "tiny"]) == 0  # it replaces the head
    assert "--backbone" not in capsys.readouterr().err
