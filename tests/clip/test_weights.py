"""WEIGHTS in a file: what is no weights file is named, and the transform of images is never guessed in silence."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import tarfile
import types
import zipfile

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from simnl.clip import transforms
from simnl.clip.model import load_clip
from simnl.clip.transforms import OPENAI, Transform
from simnl.clip.views import ViewSpec
from simnl.clip.weights import open_checkpoint
from simnl.runs.config import assemble
from simnl.runs.identity import config_hash

HALF = (0.5, 0.5, 0.5)


# ------------------------------------------------------------------ what a file is


class Bomb:
    """Unpickled, it would make a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def packed(archive: type, **members: bytes) -> bytes:
    out = io.BytesIO()
    if archive is zipfile.ZipFile:
        with zipfile.ZipFile(out, "w") as file:
            for name, data in members.items():
                file.writestr(name, data)
    else:
        with tarfile.open(fileobj=out, mode="w") as file:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                file.addfile(info, io.BytesIO(data))
    return out.getvalue()


def saved(value: object, **options) -> bytes:
    out = io.BytesIO()
    torch.save(value, out, **options)
    return out.getvalue()


def an_image() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG")
    return out.getvalue()


def arrays() -> bytes:
    out = io.BytesIO()
    np.savez(out, a=np.zeros(3))
    return out.getvalue()


MODULE = torch.nn.Linear(2, 2)
CONTENTS = {
    "is empty": b"",
    "Git LFS pointer.*git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
    "a web page": b"\n<!DOCTYPE html><html><body>Sign in</body></html>",
    "json text": b'{"layers": 12}',
    "is text": "404: not found, été\n".encode(),
    "an image": an_image(),
    "NumPy arrays": arrays(),
    "a NumPy array": b"\x93NUMPY\x01\x00",
    "zip archive .readme.txt": packed(zipfile.ZipFile, **{"readme.txt": b"hello"}),
    "tar archive": packed(tarfile.TarFile, readme=b"hello"),
    "gzip": b"\x1f\x8b\x08\x00\x00",
    "is a pickle": pickle.dumps({"weight": [1.0]}),
    "pickled Python objects .torch.nn.modules.linear.Linear": saved(MODULE),
    "pickled Python objects .torch.nn.modules.linear.Linear.*state_dict": saved(
        MODULE, _use_new_zipfile_serialization=False
    ),
    "pickled Python objects .argparse.Namespace": saved({"args": argparse.Namespace(), "model": MODULE.state_dict()}),
    "holds a list": saved([torch.zeros(2)]),
    "holds a Tensor": saved(torch.zeros(2)),
    "holds no tensor .its keys: epoch": saved({"epoch": 3}),
    "several sets of tensors .teacher, student": saved(dict.fromkeys(("teacher", "student"), {"a": torch.ones(1)})),
    "cut short or damaged": saved(MODULE.state_dict())[:700],
    "cut short or damaged: fetch it again": saved(MODULE.state_dict(), _use_new_zipfile_serialization=False)[:-20],
    "no known form": bytes(range(200, 256)) * 10,
}  # fmt: skip


@pytest.mark.parametrize("cause", CONTENTS)
def test_what_is_no_weights_file_is_named_in_a_sentence(tmp_path, cause):
    path = tmp_path / "weights.pt"
    path.write_bytes(CONTENTS[cause])
    with pytest.raises(ValueError, match=cause) as caught:
        load_clip("ViT-B-32", str(path))
    message = str(caught.value)
    assert str(path) in message
    assert "Weights are taken from" in message
    assert "weights_only" not in message
    assert "\n" not in message
    assert len(message) < 500


@pytest.mark.parametrize("cut", [4, 30, -8])
def test_a_safetensors_file_that_is_cut_short(tmp_path, cut):
    save_file({"a": torch.zeros(4)}, tmp_path / "whole.safetensors")
    path = tmp_path / "cut.safetensors"
    path.write_bytes((tmp_path / "whole.safetensors").read_bytes()[:cut])
    with pytest.raises(ValueError, match="cut short or damaged|no known form|is text"):
        open_checkpoint(path)


def test_nothing_is_unpickled(tmp_path):
    mark = tmp_path / "ran"
    for name, content in {"a.pt": saved({"w": Bomb(mark)}), "b.pt": pickle.dumps(Bomb(mark))}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="pickle"):
            open_checkpoint(tmp_path / name)
    assert not mark.exists()


def test_paths_where_there_is_no_file(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(ValueError, match=r"is a folder: give the file in it \(model.safetensors\)"):
        load_clip("ViT-B-32", str(tmp_path))
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/null"):
        with pytest.raises(ValueError, match=f"{path} .WEIGHTS. is a pipe or a device"):
            load_clip("ViT-B-32", str(path))
    (tmp_path / "loop.pt").symlink_to("loop.pt")
    for path in (tmp_path / "nowhere.pt", tmp_path / "loop.pt", "nowhere.safetensors"):
        with pytest.raises(ValueError, match=f"There is no file {path} .WEIGHTS"):
            load_clip("ViT-B-32", str(path))


# ------------------------------------------------------------------ training checkpoints


@pytest.fixture
def state(clip_checkpoints):
    return load_file(clip_checkpoints["test-vit"])


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"epoch": 3, "state_dict": state, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}}},
        lambda state: {"model": state, "optimizer": {"lr": 0.1}},
        lambda state: {"model_state_dict": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {f"module.{name}": value for name, value in state.items()},
        lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
        lambda state: {"state_dict": {f"clip.{name}": value for name, value in state.items()}},
    ],
)
def test_wrapped_state_dicts_are_read(tmp_path, state, wrap, vit):
    (tmp_path / "x.pt").write_bytes(saved(wrap(state)))
    assert load_clip("test-vit", str(tmp_path / "x.pt")).fingerprint == vit.fingerprint


def test_the_ending_does_not_decide(tmp_path, state, vit):
    save_file(state, tmp_path / "x.bin")
    (tmp_path / "y.safetensors").write_bytes(saved(state))
    for name in ("x.bin", "y.safetensors"):
        assert load_clip("test-vit", str(tmp_path / name)).fingerprint == vit.fingerprint


def test_other_weights_are_told_by_cause_and_a_few_names(tmp_path, state):
    wide = {**state, "text_projection": torch.zeros(32, 99)}
    for wrap in (wide, {"model": wide}):
        (tmp_path / "wide.pt").write_bytes(saved(wrap))
        with pytest.raises(ValueError, match=r"1 of its tensors have another shape \(text_projection is 32 x 99"):
            load_clip("test-vit", str(tmp_path / "wide.pt"))
    (tmp_path / "other.pt").write_bytes(saved({"model": {f"layer.{i}.weight": torch.zeros(1) for i in range(300)}}))
    with pytest.raises(
        ValueError, match=r"tensors are not in it \(.*, \.\.\.\); 300 of its 300 tensors are not"
    ) as caught:
        load_clip("test-vit", str(tmp_path / "other.pt"))
    assert len(str(caught.value)) < 600


def test_a_table_that_is_resized_is_told(tmp_path, state, caplog):
    """Weights for another image size: open_clip interpolates the positions, which is another model."""
    state["visual.positional_embedding"] = torch.zeros(17, 32)
    (tmp_path / "large.pt").write_bytes(saved(state))
    load_clip("test-vit", str(tmp_path / "large.pt"))
    assert "another size than test-vit takes, so visual.positional_embedding is interpolated" in caplog.text


# ------------------------------------------------------------------ the transform


def test_the_published_weights_decide_where_they_agree():
    """Every architecture with tags: what `of_file` says is what each of its tags says, or it is asked for."""
    asked = []
    for arch in open_clip.list_models():
        tags = [open_clip.get_pretrained_cfg(arch, tag) for tag in open_clip.list_pretrained_tags_by_model(arch)]
        said = [{field: tag.get(field) or default for field, default in OPENAI.items()} for tag in tags]
        try:
            found = transforms.of_file(arch, "x.pt", Transform())
        except ValueError:
            asked.append(arch)
            assert len({str(one) for one in said}) > 1
            continue
        assert all({f: tuple(v) if isinstance(v, list) else v for f, v in one.items()} == found for one in said)
    assert "ViT-L-14" in asked
    assert "ViT-B-32" not in asked


@pytest.mark.parametrize(
    ("arch", "mean", "interpolation", "resize"),
    [
        ("MobileCLIP2-S0", (0.0, 0.0, 0.0), "bilinear", "shortest"),
        ("MobileCLIP-S1", (0.0, 0.0, 0.0), "bilinear", "shortest"),
        ("ViT-B-16-SigLIP", HALF, "bicubic", "squash"),
        ("ViT-B-16-SigLIP2", HALF, "bicubic", "squash"),
        ("PE-Core-B-16", HALF, "bilinear", "squash"),
        ("ViT-L-14-CLIPA", (0.485, 0.456, 0.406), "bilinear", "squash"),
        ("EVA02-B-16", OPENAI["mean"], "bicubic", "shortest"),
        ("ViTamin-S", OPENAI["mean"], "bicubic", "shortest"),
        ("ViT-H-14-378-quickgelu", OPENAI["mean"], "bicubic", "squash"),
    ],
)
def test_families_that_differ(arch, mean, interpolation, resize, caplog):
    found = transforms.of_file(arch, "x.pt", Transform())
    assert (found["mean"], found["interpolation"], found["resize_mode"]) == (mean, interpolation, resize)
    assert not caplog.text
    assert ViewSpec.test({**found, "size": 224}).build()(Image.new("RGB", (30, 20))).shape == (3, 224, 224)


def test_where_they_disagree_it_must_be_given():
    with pytest.raises(ValueError, match=r"weights of ViT-L-14 disagree: mean .*0.5 0.5 0.5 \(laion2b.*TRANSFORM.MEAN"):
        transforms.of_file("ViT-L-14", "x.pt", Transform())
    with pytest.raises(ValueError, match="disagree: std .* Set MODEL.BACKBONE.TRANSFORM.STD as"):
        transforms.of_file("ViT-L-14", "x.pt", Transform(mean=HALF))
    assert transforms.of_file("ViT-L-14", "x.pt", Transform(mean=HALF, std=HALF)) == {
        "mean": HALF, "std": HALF, "interpolation": "bicubic", "resize_mode": "shortest",
    }  # fmt: skip


def test_without_published_weights_the_assumption_is_told(caplog):
    assert transforms.of_file("ViT-S-32", "x.pt", Transform(interpolation="bilinear"))["mean"] == OPENAI["mean"]
    assert "x.pt does not say" in caplog.text
    assert (
        "set MODEL.BACKBONE.TRANSFORM.MEAN, MODEL.BACKBONE.TRANSFORM.STD, MODEL.BACKBONE.TRANSFORM.RESIZE"
        in caplog.text
    )
    caplog.clear()
    given = Transform(HALF, HALF, "bilinear", "squash")
    assert transforms.of_file("ViT-S-32", "x.pt", given)["resize_mode"] == "squash"
    assert not caplog.text


def test_a_loaded_file_has_the_transform_of_its_architecture(tmp_path, state, monkeypatch, clip_checkpoints):
    """A small stand-in for MobileCLIP2-S0, whose tag says mean 0, std 1, bilinear."""
    mobile = open_clip.get_pretrained_cfg("MobileCLIP2-S0", "dfndr2b")
    monkeypatch.setattr(open_clip, "list_pretrained_tags_by_model", lambda arch: ["dfndr2b"])
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda arch, tag: mobile)
    (tmp_path / "mobile.pt").write_bytes(saved(state))
    spec = ViewSpec.test(load_clip("test-vit", str(tmp_path / "mobile.pt")).preprocess)
    assert (spec.mean, spec.std, spec.interpolation, spec.size) == ((0, 0, 0), (1, 1, 1), "bilinear", 32)
    given = load_clip("test-vit", str(tmp_path / "mobile.pt"), transform=Transform(mean=HALF)).preprocess
    assert (given["mean"], given["std"]) == (HALF, (1.0, 1.0, 1.0))


def test_a_tag_says_its_transform_itself():
    for arch, weights in (("tiny-clip", "bundled"), ("RN50-quickgelu", "openai")):
        with pytest.raises(ValueError, match=f"WEIGHTS is '{weights}'"):
            load_clip(arch, weights, transform=Transform(mean=HALF))


def keys(**given) -> dict:
    return {"MEAN": [], "STD": [], "INTERPOLATION": "", "RESIZE": "", **given}


@pytest.mark.parametrize(
    "wrong",
    [
        {"MEAN": [0.5]}, {"MEAN": [0.5, 0.5, "x"]}, {"MEAN": [0.5, 0.5, float("nan")]}, {"STD": [0, 1, 1]},
        {"MEAN": [0.5] * 4}, {"INTERPOLATION": "nearest"}, {"RESIZE": "crop"},
    ],
)  # fmt: skip
def test_wrong_values_are_named(wrong):
    with pytest.raises(ValueError, match=f"MODEL.BACKBONE.TRANSFORM.{next(iter(wrong))} is"):
        Transform.from_keys(keys(**wrong))


def test_the_keys_count_for_a_run_only_where_they_are_set():
    settings = {"TRAINER.NAME": "ZeroshotCLIP", "DATASET.NAME": "Shapes"}
    plain = assemble([], [], settings)
    given = assemble([], ["MODEL.BACKBONE.TRANSFORM.MEAN", "[0, 0, 0]"], settings)
    assert config_hash(plain) != config_hash(given)
    assert Transform.from_keys(given.MODEL.BACKBONE.TRANSFORM) == Transform(mean=(0.0, 0.0, 0.0))
    assert not Transform.from_keys(plain.MODEL.BACKBONE.TRANSFORM).given


# ------------------------------------------------------------------ packages


@pytest.mark.parametrize("arch", ["ViT-B-16-SigLIP", "ViT-L-14-CLIPA", "roberta-ViT-B-32"])
def test_a_missing_package_is_told_before_anything_is_loaded(tmp_path, arch, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(open_clip, "create_model", lambda *args, **kwargs: pytest.fail("must not be built"))
    (tmp_path / "x.pt").write_bytes(saved({"logit_scale": torch.zeros(())}))
    for weights in (str(tmp_path / "x.pt"), "webli"):
        with pytest.raises(ValueError, match=f"{arch} needs the package transformers.*requirements-transformers.txt"):
            load_clip(arch, weights)


def test_a_tokenizer_that_cannot_be_had_is_told_before_anything_is_loaded(tmp_path, monkeypatch):
    def fail(name, **options):
        raise OSError("We couldn't connect to the hub.\nMore lines.")

    monkeypatch.setattr("importlib.util.find_spec", lambda name: types.SimpleNamespace(submodule_search_locations=[]))
    monkeypatch.setattr("simnl.clip.tokens.is_at_hand", lambda repository, file: False)
    monkeypatch.setattr(open_clip, "get_tokenizer", fail)
    monkeypatch.setattr(open_clip, "create_model", lambda *args, **kwargs: pytest.fail("must not be built"))
    with pytest.raises(RuntimeError, match="tokenizer of ViT-B-16-SigLIP, timm/ViT-B-16-SigLIP: We couldn't connect"):
        load_clip("ViT-B-16-SigLIP", "webli")


def test_json_that_looks_like_a_header(tmp_path):
    """Eight bytes before a brace are the length of a safetensors header only if a header follows."""
    (tmp_path / "x.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0" + json.dumps({"a": 1}).encode())
    with pytest.raises(ValueError, match="cut short or damaged"):
        open_checkpoint(tmp_path / "x.safetensors")
