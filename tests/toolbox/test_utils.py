"""Registry, logger, files, seeds, parameters."""

from __future__ import annotations

import io
import os
import random
import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dassl.utils import (
    Logger,
    Registry,
    check_availability,
    check_isfile,
    collect_env_info,
    count_num_param,
    download_url,
    get_most_similar_str_to_a_from_b,
    init_network_weights,
    listdir_nohidden,
    load_pretrained_weights,
    mkdir_if_missing,
    open_all_layers,
    open_specified_layers,
    read_image,
    read_json,
    set_random_seed,
    setup_logger,
    tolist_if_not,
    write_json,
)
from dassl.utils.tools import atomic_write

# ---------------------------------------------------------------------- registry


def test_registry():
    registry = Registry("TRAINER")

    @registry.register()
    class Second:
        pass

    def first():
        pass

    assert registry.register(first) is first
    assert registry.registered_names() == ["Second", "first"]
    assert registry.get("Second") is Second
    with pytest.raises(KeyError, match="first.*already registered in TRAINER"):
        registry.register(first)
    registry.register(first, force=True)
    with pytest.raises(KeyError, match="third.*Second, first"):
        registry.get("third")


def test_availability():
    check_availability("a", ["a", "b"])
    with pytest.raises(ValueError, match=r"\[CoOpp\].*do you mean \[CoOp\].*CoCoOp, CoOp"):
        check_availability("CoOpp", ["CoCoOp", "CoOp"])
    with pytest.raises(ValueError, match="nothing"):
        check_availability("CoOp", [])
    assert get_most_similar_str_to_a_from_b("ab", ["ac", "ad"]) == "ad"  # equally close: the later


# ---------------------------------------------------------------------- logger


class Console(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True

    def fileno(self):
        return 1


def test_log_goes_to_both_and_the_console_stays_open(tmp_path, monkeypatch):
    console = Console()
    monkeypatch.setattr(sys, "stdout", console)
    setup_logger(str(tmp_path / "run"))
    log = sys.stdout
    print("epoch 1")
    assert (tmp_path / "run/log.txt").read_text() == "epoch 1\n"  # at once: a killed run has its log
    assert log.isatty()
    assert log.fileno() == 1
    assert log.encoding == console.encoding
    log.flush()
    log.close()
    print("after")
    assert console.getvalue() == "epoch 1\nafter\n"
    del log
    monkeypatch.setattr(sys, "stdout", console)
    assert not console.closed


def test_second_run_keeps_the_first_log(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Console())
    for number in (1, 2):
        setup_logger(str(tmp_path))
        print(f"run {number}")
    assert (tmp_path / "log.txt").read_text() == "run 1\n"  # and nothing of the second
    (other,) = (p for p in tmp_path.iterdir() if p.name != "log.txt")
    assert re.fullmatch(r"log\.txt-\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d", other.name)
    assert other.read_text() == "run 2\n"


def test_log_file_may_be_named(tmp_path, monkeypatch):
    console = Console()
    monkeypatch.setattr(sys, "stdout", console)
    setup_logger(None)
    assert sys.stdout is console
    setup_logger(str(tmp_path / "mine.log"))
    print("x")
    assert (tmp_path / "mine.log").read_text() == "x\n"
    with Logger() as log:
        log.write("to the console only")
    assert "console only" in console.getvalue()


# ---------------------------------------------------------------------- files


def test_json(tmp_path):
    path = tmp_path / "a" / "split.json"
    write_json({"train": [["a.jpg", 0, "b"]]}, str(path))
    lines = ["{", '    "train": [', "        [", '            "a.jpg",', "            0,", '            "b"']
    assert path.read_text().splitlines()[:6] == lines
    assert read_json(str(path)) == {"train": [["a.jpg", 0, "b"]]}
    path.write_text("{")
    with pytest.raises(ValueError, match=r"split\.json is not valid json"):
        read_json(str(path))
    with pytest.raises(TypeError):
        write_json({"a": object()}, str(path))
    assert [p.name for p in path.parent.iterdir()] == ["split.json"]


def test_atomic_write_keeps_the_old_file_on_failure(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def interrupted():
        with atomic_write(str(path), "w") as file:
            file.write("half")
            file.flush()
            assert path.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_folders(tmp_path):
    mkdir_if_missing(str(tmp_path / "a/b"))
    mkdir_if_missing(str(tmp_path / "a/b"))
    for name in ("z", ".hidden", "c"):
        (tmp_path / "a" / name).touch()
    assert sorted(listdir_nohidden(str(tmp_path / "a"))) == listdir_nohidden(str(tmp_path / "a"), sort=True)
    assert listdir_nohidden(str(tmp_path / "a"), sort=True) == ["b", "c", "z"]
    assert check_isfile(str(tmp_path / "a/c")) is True
    with pytest.warns(UserWarning, match='No file found at "nowhere"'):
        assert check_isfile("nowhere") is False
    assert (tolist_if_not("a"), tolist_if_not(["a"])) == (["a"], ["a"])


def test_images(tmp_path):
    Image.new("L", (3, 2), 7).save(tmp_path / "grey.png")
    image = read_image(str(tmp_path / "grey.png"))
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("RGB", (3, 2), (7, 7, 7))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_image("nowhere")
    for mode in ("I;16", "I", "F"):  # upstream cuts their values off
        Image.new(mode, (3, 2)).save(tmp_path / "deep.tif")
        with pytest.raises(ValueError, match=r"deep.tif has more than 8 bits per channel"):
            read_image(str(tmp_path / "deep.tif"))


def test_download(tmp_path, monkeypatch):
    (tmp_path / "source").write_bytes(b"12345")
    download_url((tmp_path / "source").as_uri(), str(tmp_path / "target"))
    assert (tmp_path / "target").read_bytes() == b"12345"

    class Short(io.BytesIO):
        headers = {"Content-Length": "9"}

    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: Short(b"1234"))
    with pytest.raises(OSError, match="4 of 9 bytes"):
        download_url("https://example.org/x", str(tmp_path / "target"))
    assert (tmp_path / "target").read_bytes() == b"12345"


def test_seed_zero_and_environment():
    draws = []
    for seed in (0, 0, 1):
        set_random_seed(seed)
        draws.append((random.random(), np.random.rand(), torch.rand(1).item()))
    assert draws[0] == draws[1] != draws[2]
    state = random.getstate()
    assert f"PyTorch version: {torch.__version__}" in collect_env_info()
    assert random.getstate() == state


# ---------------------------------------------------------------------- parameters


def small_model():
    return nn.ModuleDict({"conv": nn.Conv2d(1, 2, 3), "norm": nn.BatchNorm2d(2), "fc": nn.Linear(2, 3)})


def test_counting():
    model = small_model()
    assert count_num_param(model) == 20 + 4 + 9
    assert count_num_param(params=model["fc"].parameters()) == 9
    assert count_num_param(params=[{"params": list(model["fc"].parameters())}, {"params": [torch.ones(2)]}]) == 11
    with pytest.raises(ValueError, match="one of"):
        count_num_param()


def test_opening_layers():
    model = small_model()
    open_specified_layers(model, "fc")
    assert [p.requires_grad for p in model.parameters()] == [False] * 4 + [True] * 2
    assert (model["norm"].training, model["fc"].training) == (False, True)
    open_all_layers(model)
    assert all(p.requires_grad for p in model.parameters())
    assert model["norm"].training
    with pytest.raises(ValueError, match=r"cf.*\['conv', 'fc', 'norm'\]"):
        open_specified_layers(model, ["cf"])


@pytest.mark.parametrize(("kind", "std"), [("normal", 0.5), ("xavier", None), ("kaiming", None), ("orthogonal", None)])
def test_initialising(kind, std):
    model = nn.Sequential(nn.Linear(64, 64), nn.BatchNorm1d(64), nn.Conv1d(64, 64, 1, bias=False))
    before = [p.clone() for p in model.parameters()]
    init_network_weights(model, kind, 0.5)
    assert all(not torch.equal(new, old) for new, old in zip(model.parameters(), before, strict=True) if old.any())
    assert not model[0].bias.any()
    assert model[1].weight.mean().item() == pytest.approx(1, abs=0.2)
    if std is not None:
        assert model[0].weight.std().item() == pytest.approx(std, rel=0.05)
    with pytest.raises(ValueError, match="uniform.*normal"):
        init_network_weights(model, "uniform")


def test_loading_what_fits(tmp_path, capsys):
    source, target = small_model(), small_model()
    state = {f"module.{k}": v for k, v in source.state_dict().items()}
    state["module.fc.weight"] = torch.ones(5, 5)
    torch.save({"state_dict": state}, tmp_path / "weights")
    own = target["fc"].weight.clone()
    load_pretrained_weights(target, str(tmp_path / "weights"))
    assert torch.equal(target["conv"].weight, source["conv"].weight)
    assert torch.equal(target["fc"].weight, own)
    assert "['fc.weight']" in capsys.readouterr().out
    torch.save({"other": torch.ones(1)}, tmp_path / "weights")
    with pytest.warns(UserWarning, match="none of its layers"):
        load_pretrained_weights(target, str(tmp_path / "weights"))
