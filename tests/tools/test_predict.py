"""tools/predict.py: which images, what is said of them, where it is written, and what is refused."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
from pathlib import Path

import predict as tool
import pytest
import torch
from PIL import Image

from helpers.images import make_images
from helpers.methods import make_head
from simnl.clip.model import load_clip
from simnl.escaping import file_name
from simnl.fewshot import head_file
from simnl.fewshot.description import BackboneDescription, HeadDescription
from simnl.predictions.explain import explain
from simnl.predictions.images import images_of
from simnl.predictions.predict import Prediction, Unreadable, predict

NAMES = ("owl", "=cmd", "a/../b", "..", "x" * 300)  # what class folders and label files of others may hold


def save(path: Path, method: str, **options) -> Path:
    head, task = make_head(method, 3)
    support = tuple(f"{name[:5]}/{k}.png" for name in ("owl", "cmd", "ab", "up", "x") for k in range(3))
    backbone = BackboneDescription.of(task.clip, "tiny")
    head_file.save(path, head, HeadDescription(method, NAMES, backbone, support=support, **options))
    return path


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> Path:
    return save(tmp_path_factory.mktemp("head") / "head.safetensors", "SimNL", num_shots=3, dataset="animals")


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    make_images(folder, 6, size=48)
    make_images(folder / "more", 3, size=40)
    (folder / "note.txt").write_text("no image")
    return folder


def run(monkeypatch, capsys, *words: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the tool."""
    monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, words)])
    code = tool.main()
    return code, *capsys.readouterr()


def predicted(head: Path, paths: list[str]) -> torch.Tensor:
    loaded = head_file.load(head)
    return loaded.probabilities(loaded.encoder().encode(paths))


# ---------------------------------------------------------------------- labels


def test_labels_and_probabilities_are_those_of_the_head(head, images, monkeypatch, capsys):
    paths = images_of([str(images)])
    assert len(paths) == 9
    code, out, err = run(monkeypatch, capsys, head, images, "--device", "cpu")
    assert code == 0
    wanted = predicted(head, paths)
    for line, path, row in zip(out.splitlines(), paths, wanted, strict=True):
        label = NAMES[row.argmax()]
        assert line == f"{path}  {label}  {100 * row.max():.1f} %"
    assert re.search(r"9 images in [0-9.]+ s, \d+ images per second; head and backbone were loaded in [0-9.]+ s", err)


def test_unreadable_images_are_told_at_the_end_and_end_nothing(head, images, tmp_path, monkeypatch, capsys):
    (tmp_path / "bad\x1b.png").write_bytes(b"nothing")
    (tmp_path / "z.png").write_bytes(next(images.glob("*.png")).read_bytes())
    code, out, err = run(monkeypatch, capsys, head, tmp_path, tmp_path / "none.png", "--json", tmp_path / "all.json")
    assert code == 1
    assert [line.split("  ")[0] for line in out.splitlines()] == [f"{tmp_path}/z.png"]
    assert err.splitlines()[-3:-1] == [
        "2 images could not be read:",
        f"  {tmp_path}/bad\\x1b.png: " + err.splitlines()[-2].split(": ", 1)[1],
    ]
    assert "it holds no image of a known kind" in err
    assert err.endswith("none.png: there is no such file\n")
    content = json.loads((tmp_path / "all.json").read_text())
    assert [Path(one["path"]).name for one in content["unreadable"]] == ["bad\x1b.png", "none.png"]
    assert [Path(one["path"]).name for one in content["images"]] == ["z.png"]


def test_order_and_batches(head, images):
    """More images than a batch of the towers, with unreadable ones in between, come in their order."""
    loaded = head_file.load(head)
    some = [str(path) for path in sorted(images.glob("*.png"))]
    paths = [some[i % 6] if i % 7 else f"missing{i}" for i in range(95)]
    results = list(predict(loaded, loaded.encoder(), paths, workers=3, progress=False))
    assert [result.path for result in results] == paths
    assert [isinstance(result, Unreadable) for result in results] == [i % 7 == 0 for i in range(95)]
    first = {r.path: r for r in reversed(results) if isinstance(r, Prediction)}
    for result in results:
        if isinstance(result, Prediction):
            assert torch.equal(result.inputs, first[result.path].inputs)  # features do not depend on their batch
            torch.testing.assert_close(result.probabilities, first[result.path].probabilities)


def test_files(head, images, tmp_path, monkeypatch, capsys):
    run(monkeypatch, capsys, head, images, "--topk", 2, "--csv", tmp_path / "a.csv", "--json", tmp_path / "a.json")
    paths = images_of([str(images)])
    wanted = predicted(head, paths)
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    entries = json.loads((tmp_path / "a.json").read_text())["images"]
    for row, entry, path, values in zip(rows, entries, paths, wanted, strict=True):
        best, second = values.topk(2).indices.tolist()
        assert (row["path"], entry["path"], entry["label"]) == (path, path, NAMES[best])
        assert row["label"] == ("'=cmd" if NAMES[best] == "=cmd" else NAMES[best])  # no spreadsheet's formula
        assert abs(float(row["probability"]) - values[best]) < 1e-5
        assert [top["class"] for top in entry["top"]] == [NAMES[best], NAMES[second]]
        assert row["class2"].lstrip("'") == NAMES[second]
    assert {row["label"] for row in rows} & {"'=cmd", "owl", "..", "a/../b", "x" * 300}


def test_the_threshold(head, images, tmp_path, monkeypatch, capsys):
    wanted = predicted(head, images_of([str(images)])).max(1).values
    middle = wanted.median().item()
    run(monkeypatch, capsys, head, images, "--threshold", middle, "--csv", tmp_path / "a.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "a.csv").read_text())))
    assert [row["label"] == "none of these" for row in rows] == (wanted < middle).tolist()
    _, out, _ = run(monkeypatch, capsys, head, images, "--threshold", 1)
    assert out.count("  none of these  (") == 9


def test_sorting_links_and_never_overwrites_nor_leaves_the_folder(head, images, tmp_path, monkeypatch, capsys):
    target = tmp_path / "sorted"
    run(monkeypatch, capsys, head, images, "--sort-into", target)
    links = {path for path in target.rglob("*") if not path.is_dir()}
    assert {os.readlink(link) for link in links} == {os.path.abspath(path) for path in images_of([str(images)])}
    assert {path.parent.name for path in links} <= {file_name(name) for name in NAMES}
    assert all(path.parent.parent == target for path in links)
    assert set(tmp_path.iterdir()) == {target}
    run(monkeypatch, capsys, head, images, "--sort-into", target)  # once more: nothing new
    assert {path for path in target.rglob("*") if not path.is_dir()} == links
    victim = min(path for path in links if "-" not in path.name)
    victim.unlink()
    victim.write_text("mine")
    run(monkeypatch, capsys, head, images, "--sort-into", target)
    assert victim.read_text() == "mine"
    assert (victim.parent / f"{victim.stem}-2{victim.suffix}").is_symlink()
    folder = victim.parent
    folder.rename(tmp_path / "away")
    folder.symlink_to(tmp_path / "away")
    code, _, err = run(monkeypatch, capsys, head, images, "--sort-into", target)
    assert code == 1
    assert f"{folder} is a link, but a folder for images belongs there" in err


def test_names_of_files():
    assert file_name("a/../b") == "a%2F..%2Fb"
    assert file_name("..") == "%2E."
    assert file_name("") != ""
    assert file_name("owl") == "owl"
    assert file_name("a\x00\n\\b") == "a%5Cx00%5Cn%5Cb"
    assert len(file_name("é" * 300).encode()) <= 120
    assert file_name("x" * 300) != file_name("x" * 301)


# ---------------------------------------------------------------------- why


@pytest.mark.parametrize("method", ["SimNL", "TipAdapter", "ProKeR", "GDA", "ZSLP"])
def test_parts_add_up_to_the_logit(method, images, tmp_path):
    loaded = head_file.load(save(tmp_path / "head", method))
    results = list(predict(loaded, loaded.encoder(), images_of([str(images)]), progress=False))
    for why, result in zip(explain(loaded, results, shown=99), results, strict=True):
        size = max(abs(own) for _, own, _ in why.terms)
        assert why.label == NAMES[result.probabilities.argmax()]
        assert abs(sum(own for _, own, _ in why.terms) - why.logit) < 1e-5 * size
        assert abs(sum(other for _, _, other in why.terms) - why.rival_logit) < 1e-5 * size
        values = [value for _, value in why.support]
        assert values == sorted(values, reverse=True)
        if method in ("SimNL", "TipAdapter"):
            of_cache = sum(own for name, own, _ in why.terms if name in why.support_terms)
            assert abs(sum(values) - of_cache) < 1e-5 * max(1.0, of_cache)
            assert {name.split("/")[0] for name, _ in why.support} == {
                dict(zip(NAMES, ("owl", "cmd", "ab", "up", "x"), strict=True))[why.label]
            }
        if method in ("GDA", "ZSLP"):
            assert not why.support
            assert method in why.note


def test_explanations_as_text_and_as_a_page(head, images, tmp_path, monkeypatch, capsys):
    name = head_file.load(head).about.support[0]
    (tmp_path / "support" / name).parent.mkdir(parents=True)
    Image.new("RGB", (20, 20), "red").save(tmp_path / "support" / name)
    page, folder = tmp_path / "why.html", tmp_path / "<b>"
    folder.mkdir()
    (folder / "a.png").write_bytes(next(images.glob("*.png")).read_bytes())
    words = (head, folder, images, "--explain", "--html", page, "--support-images", tmp_path / "support")
    code, out, _ = run(monkeypatch, capsys, *words)
    assert code == 0
    for word in ("positive text", "positive cache", "negative text", "negative cache"):
        assert out.count(f"    {word}") == 10
    assert out.count("support images that spoke for it most, of positive cache:") == 10
    text = page.read_text()
    assert text.count('<img class="picture"') >= 10
    assert "no picture: " in text  # of support images that are not there
    assert "<b>" not in text
    assert "&lt;b&gt;" in text
    assert "default-src 'none'" in text
    code, out, _ = run(monkeypatch, capsys, head, images, "--html", page)
    assert "  why " not in out


def test_names_of_support_images_do_not_lead_out_of_their_folder(tmp_path):
    from simnl.predictions.page import _inside

    assert _inside("/data/x", "a/b.png") == "/data/x/a/b.png"
    assert _inside("/data/x", "../y.png") == _inside("/data/x", "/etc/passwd") == ""


# ---------------------------------------------------------------------- words and refusals


def test_which_images_are_meant(images, tmp_path, monkeypatch):
    (tmp_path / "[1].png").write_bytes(b"")
    one = str(min(images.glob("*.png")))
    assert images_of([one, one]) == [one]
    assert images_of([str(images / "*.png")]) == sorted(map(str, images.glob("*.png")))
    assert len(images_of([str(images / "**" / "*.png")])) == 9
    assert images_of([str(tmp_path / "[1].png")]) == [str(tmp_path / "[1].png")]
    assert images_of(["-"], [f"{one}\n", "\n", "missing.png\r\n"]) == [one, "missing.png"]
    for words, match in (([], "No image is named"), (["*.none"], r"No file fits the pattern \*.none"),
                         ([str(tmp_path.parent / "nothing")], None), (["-"], "No image is named")):  # fmt: skip
        if match:
            with pytest.raises(FileNotFoundError, match=match):
                images_of(words)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"There is no image in .*empty. Images end in .jpg"):
        images_of([str(tmp_path / "empty")])


def test_a_list_of_paths_from_standard_input(head, images, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{images}/more\n"))
    code, out, _ = run(monkeypatch, capsys, head, "-")
    assert (code, len(out.splitlines())) == (0, 3)


def test_the_folder_of_a_run_is_a_head_too_and_a_small_copy(head, images, tmp_path, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "head.safetensors").write_bytes(head.read_bytes())
    code, out, _ = run(monkeypatch, capsys, tmp_path / "run", "--half", tmp_path / "half")
    assert code == 0
    assert re.fullmatch(rf"{tmp_path}/half has \d+ kB, and {tmp_path}/run/head.safetensors has \d+ kB\n", out)
    _, ours, _ = run(monkeypatch, capsys, tmp_path / "half", images)
    _, theirs, _ = run(monkeypatch, capsys, head, images)
    assert [line.split("  ")[1] for line in ours.splitlines()] == [line.split("  ")[1] for line in theirs.splitlines()]


def test_bad_heads_are_refused_in_one_sentence_of_cause(head, images, tmp_path, monkeypatch, capsys, clip_checkpoints):
    content = head.read_bytes()
    bad = {
        "cut off": content[:-9],
        "edited": content.replace(b'num_shots\\": 3', b'num_shots\\": 4'),
        "no head": b"",
    }
    for name, damaged in bad.items():
        (tmp_path / name).write_bytes(damaged)
        code, out, err = run(monkeypatch, capsys, tmp_path / name, images)
        assert (code, out) == (1, "")
        assert err.startswith(f"\nError: {tmp_path / name} is not a trained head of this program")
        assert err.count("\n") == 2
    code, _, err = run(monkeypatch, capsys, tmp_path / "nowhere", images)
    assert (code, err) == (1, f"\nError: There is no head file {tmp_path / 'nowhere'}. Give the head.safetensors of a "
                           "finished run, or the run's folder.\n")  # fmt: skip
    other = load_clip("test-vit", str(clip_checkpoints["test-vit"]))
    make, _ = make_head("ZSLP", 2)
    about = HeadDescription("ZSLP", NAMES, BackboneDescription.of(other))
    head_file.save(tmp_path / "vit", make, about)
    code, _, err = run(monkeypatch, capsys, tmp_path / "vit", images, "--weights", clip_checkpoints["test-resnet"])
    assert code == 1
    assert "does not hold the weights of test-vit" in err
    code, _, err = run(monkeypatch, capsys, tmp_path / "vit", images, "--weights", "/none/w.safetensors")
    assert (code, "there is no file /none/w.safetensors. Say with --weights where the file is." in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--topk", "0"), "whole number from 1"), (("--threshold", "1.5"), "not a probability from 0 to 1"),
     (("--threshold", "nan"), "not a probability from 0 to 1")],
)  # fmt: skip
def test_bad_options(head, images, monkeypatch, capsys, words, said):
    with pytest.raises(SystemExit):
        run(monkeypatch, capsys, head, images, *words)
    assert said in capsys.readouterr().err


def test_a_head_alone_is_told_what_it_lacks(head, monkeypatch, capsys):
    code, _, err = run(monkeypatch, capsys, head)
    assert code == 1
    assert "Name images, folders or patterns after HEAD" in err
