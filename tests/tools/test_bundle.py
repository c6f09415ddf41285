"""tools/bundle.py: pack runs, check the archive, carry a run out again, and say what differs."""

from __future__ import annotations

import json
import sys

import bundle as tool
import pytest
import train

from helpers.images import make_images
from simnl.results.bundle import read, write
from simnl.sealed import seal


def called(monkeypatch, main, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["tool", *map(str, arguments)])
    return main()


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The folder of a finished run on a few images of one's own."""
    for name in ("cat", "dog"):
        make_images(tmp_path / "mine" / name, 6)
    folder = tmp_path / "output" / "seed1"
    given = ["--trainer", "TipAdapter", "--dataset-config-file", "configs/datasets/imagefolder.yaml"]
    keys = ["DATASET.FOLDER", tmp_path / "mine", "DATASET.NUM_SHOTS", 2, "STORE.ROOT", tmp_path / "cache"]
    given += ["--backbone-config-file", "configs/backbones/tiny.yaml", "--device", "cpu", "--output-dir", folder]
    assert called(monkeypatch, train.main, *given, *keys) == 0
    return folder


def test_pack_verify_and_repeat(run, tmp_path, monkeypatch, capsys):
    archive = tmp_path / "results.zip"
    assert called(monkeypatch, tool.main, run.parent, "--output", archive) == 0
    assert "1 runs, 1 draws, check sums of 1 heads" in capsys.readouterr().out
    (draw,) = [json.loads(text) for name, text in read(archive).members.items() if name.startswith("draws/")]
    assert [label for _, label in draw["train"]] == [0, 0, 1, 1]
    assert not any(path.startswith("/") for path, _ in draw["train"])

    assert called(monkeypatch, tool.main, "--verify", archive, "--rerun", 1) == 0
    out = capsys.readouterr().out
    assert "is sound: 5 members, 1 runs" in out
    assert "runs/seed1/result.json: the same figures, to the digit" in out

    found = read(archive)
    members = dict(found.members)
    record = {k: v for k, v in json.loads(members["runs/seed1/result.json"]).items() if k != "sha256"}
    members["runs/seed1/result.json"] = json.dumps(seal({**record, "accuracy": 12.5})).encode()
    write(archive, members, found.manifest["heads"])
    assert called(monkeypatch, tool.main, "--verify", archive, "--rerun", 1) == 1
    assert "in the bundle" in capsys.readouterr().err


def test_without_data_the_draws_are_left_out_on_request_alone(run, tmp_path, monkeypatch, capsys):
    (tmp_path / "mine").rename(tmp_path / "moved")
    archive = tmp_path / "results.zip"
    assert called(monkeypatch, tool.main, run.parent, "--output", archive) == 1
    assert str(tmp_path / "mine") in capsys.readouterr().err
    assert not archive.exists()
    assert called(monkeypatch, tool.main, run.parent, "--output", archive, "--without-draws") == 0
    assert "0 draws" in capsys.readouterr().out


def test_what_does_not_go_together_is_told(monkeypatch, capsys):
    for words in ([], ["output", "--verify", "x.zip"], ["output", "--rerun", "2"], ["output", "--output", "x.tar"]):
        with pytest.raises(SystemExit) as caught:
            called(monkeypatch, tool.main, *words)
        assert caught.value.code == 2
