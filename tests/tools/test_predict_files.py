"""tools/predict.py: what it must not replace, wait for, or leave out, whatever lies in a folder and whoever reads."""

from __future__ import annotations

import os
import shutil
import sys
import zlib
from pathlib import Path

import predict as tool
import pytest

from helpers.images import make_images
from helpers.methods import make_head
from simnl.fewshot import head_file
from simnl.fewshot.description import BackboneDescription, HeadDescription
from simnl.predictions.images import images_of


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A head file, and a folder of images."""
    folder = tmp_path_factory.mktemp("made")
    head, task = make_head("TipAdapter", 3)
    about = HeadDescription("TipAdapter", tuple("abcde"), BackboneDescription.of(task.clip, "tiny"))
    head_file.save(folder / "head.safetensors", head, about)
    make_images(folder / "images", 3, size=48)
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch) -> Path:
    """A working folder with copies of them."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def answer(monkeypatch, capsys, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["predict.py", "head.safetensors", *words])
    code = tool.main()
    return code, *capsys.readouterr()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("option", ["--csv", "--json", "--html", "--half"])
def test_no_file_takes_the_place_of_the_head_or_of_an_image(option, place, monkeypatch, capsys):
    before = content(place)
    image = images_of(["images"])[0]
    for target, said in (("head.safetensors", "which is the head file"), (image, "which is one of the images")):
        code, out, err = answer(monkeypatch, capsys, "images", option, target)
        assert (code, out) == (1, "")
        assert f"{option} is {target}, {said}. Give the new file a name of its own." in err
    assert content(place) == before


def test_places_are_looked_at_before_any_image(place, monkeypatch, capsys):
    before = content(place)
    os.mkfifo("pipe")
    for words, said in (
        (("--csv", "images"), "images is a folder. Name a file, such as images/labels.csv."),
        (("--json", "head.safetensors/a.json"), "because head.safetensors is not a folder"),
        (("--html", "pipe"), "pipe is a device or a pipe"),
        (("--csv", "a", "--json", "a"), "--json is a, which is the file of --csv, too"),
        (("--support-images", "images"), "--support-images is for the page of --html"),
        (("--html", "a", "--support-images", "none"), "--support-images is none, and there is no such folder"),
    ):
        code, out, err = answer(monkeypatch, capsys, "images", *words)
        assert (code, out) == (1, "")
        assert said in err
    assert content(place) == before


def test_a_pipe_in_a_folder_is_left_out_and_a_link_that_leads_nowhere_is_told(place):
    named = images_of(["images"])
    os.mkfifo("images/pipe.png")
    os.symlink("nowhere", "images/z.png")
    assert images_of(["images"]) == [*named, "images/z.png"]


def test_a_reason_names_neither_memory_nor_a_danger(place, monkeypatch, capsys):
    Path("images/text.png").write_text("no image")
    size = (20_000).to_bytes(4, "big")
    parts = (b"IHDR" + size + size + bytes([8, 2, 0, 0, 0]), b"IDAT" + zlib.compress(bytes(9)), b"IEND")
    chunks = [(len(part) - 4).to_bytes(4, "big") + part + zlib.crc32(part).to_bytes(4, "big") for part in parts]
    Path("images/vast.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    code, out, err = answer(monkeypatch, capsys, "images")
    assert (code, len(out.splitlines())) == (1, 3)
    assert "  images/text.png: it holds no image of a known kind\n" in err
    assert "  images/vast.png: it claims so many pixels that decoding it could fill the memory" in err


def test_files_are_written_although_nobody_reads_the_lines(place, monkeypatch, capfd):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1) as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        monkeypatch.setattr(sys, "argv", ["predict.py", "head.safetensors", "images", "--csv", "a.csv"])
        assert tool.main() == 0
    assert len(Path("a.csv").read_text().splitlines()) == 4
