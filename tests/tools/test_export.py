"""tools/export.py as a user types it, and the examples of docs/export.md as they are written."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import export as tool
import pytest
import torch

from helpers.images import make_images
from helpers.methods import CLASSES, make_head
from simnl.fewshot import export as exporting
from simnl.fewshot import head_file
from simnl.fewshot.description import BackboneDescription, HeadDescription
from simnl.locations import ROOT

EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "export.md").read_text(encoding="utf-8"), re.S)


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Path:
    made, task = make_head("SimNL", 3)
    about = HeadDescription("SimNL", task.classnames, BackboneDescription.of(task.clip, "tiny"), temperature=20.0)
    path = tmp_path_factory.mktemp("head") / "head.safetensors"
    head_file.save(path, made, about)
    return path


def run(monkeypatch, capsys, *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the tool."""
    monkeypatch.setattr(sys, "argv", ["export.py", *map(str, words)])
    code = tool.main()
    return code, *capsys.readouterr()


def answer(head: Path, image: Path) -> torch.Tensor:
    loaded = head_file.load(head)
    return loaded.probabilities(loaded.encoder().encode([image]))[0]


def test_the_example_for_onnx_labels_an_image(head, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(monkeypatch, capsys, head, "--with-tower", "--output", "classifier.onnx")
    assert code == 0
    assert re.match(rf"classifier.onnx: pixels \(batch, 3, 48, 48\) to logits \(batch, {CLASSES}\), \d+\.\d MB\.", out)
    make_images(tmp_path / "images", 1, size=64)
    (image,) = (tmp_path / "images").iterdir()
    image.rename("cat.png")
    exec(EXAMPLES[0], {})
    label, probability = capsys.readouterr().out.rsplit(maxsplit=1)
    wanted = answer(head, tmp_path / "cat.png")
    assert label == head_file.load(head).classnames[wanted.argmax()]
    assert float(probability) == pytest.approx(float(wanted.max()), abs=2e-3)
    assert len([line for line in EXAMPLES[0].splitlines() if line]) <= 10


def test_the_example_for_torch(head, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(monkeypatch, capsys, head, "--output", "classifier.pt2")
    assert code == 0
    assert "features (batch, 128) to logits" in out
    found: dict = {}
    exec(EXAMPLES[1], found)
    wanted = head_file.load(head).probabilities(torch.zeros(1, 128))
    torch.testing.assert_close(found["probabilities"], wanted, atol=1e-5, rtol=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == ["classifier.pt2"]


def test_what_is_refused(head, tmp_path, monkeypatch, capsys):
    for words, said in (
        (["--output", tmp_path / "head.bin"], "Give a name that ends in .pt2 or .onnx, or say --format torch or onnx"),
        (["--output", tmp_path, "--format", "torch"], "is a folder. Name a file, such as"),
        (["--output", head, "--format", "torch"], "the head file itself: give the program another name"),
        (["--output", tmp_path / "no.pt2", "--with-tower", "--weights", "/none/here.pt"], "no file /none/here.pt"),
    ):
        code, _, err = run(monkeypatch, capsys, head, *words)
        assert (code, list(tmp_path.iterdir())) == (1, [])
        assert said in err
    assert head_file.load(head).about.method == "SimNL"
    monkeypatch.setattr(exporting, "PACKAGES", ("no_such_package",))
    code, _, err = run(monkeypatch, capsys, head, "--output", tmp_path / "a.onnx")
    assert (code, list(tmp_path.iterdir())) == (1, [])
    assert len(err.strip().splitlines()) == 1
    assert "pip install no_such_package" in err
