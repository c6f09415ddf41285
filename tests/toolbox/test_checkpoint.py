"""Checkpoint files: plain content, atomic, upstream's accepted, nothing else unpickled."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import checkpoint as module
from dassl.utils import load_checkpoint, resume_from_checkpoint, save_checkpoint

LR_GOLDENS = json.loads((Path(__file__).parents[1] / "goldens/lr_goldens.json").read_text())


class Evil:
    """Runs a command when unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def state_of(epoch: int, size: int = 10) -> dict:
    return {"state_dict": {"weight": torch.full((size,), float(epoch))}, "epoch": epoch}


def test_names_pointer_and_module_prefix(tmp_path, capsys):
    state = {"state_dict": {"module.a": torch.ones(1), "b.module.c": torch.ones(1)}, "epoch": 3}
    path = save_checkpoint(state, str(tmp_path / "model"), is_best=True)
    assert f"Checkpoint saved to {path}\n" in capsys.readouterr().out
    assert path == str(tmp_path / "model/model.pth.tar-3")
    files = sorted(os.listdir(tmp_path / "model"))
    assert files == ["checkpoint", "model-best.pth.tar", "model.pth.tar-3"]
    assert (tmp_path / "model/checkpoint").read_text() == "model.pth.tar-3\n"
    assert list(load_checkpoint(path)["state_dict"]) == ["a", "b.module.c"]
    assert list(state["state_dict"]) == ["module.a", "b.module.c"]  # the caller's is not touched
    best = load_checkpoint(str(tmp_path / "model/model-best.pth.tar"))
    assert best["epoch"] == 3
    save_checkpoint(state, str(tmp_path / "model"), remove_module_from_keys=False, model_name="named.pth.tar")
    assert (tmp_path / "model/checkpoint").read_text() == "named.pth.tar\n"
    assert "module.a" in load_checkpoint(str(tmp_path / "model/named.pth.tar"))["state_dict"]


def test_failed_save_leaves_the_previous_state(tmp_path, monkeypatch):
    save_checkpoint(state_of(1), str(tmp_path), model_name="model-best.pth.tar")

    def disk_full(state, file):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", disk_full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(state_of(2), str(tmp_path), model_name="model-best.pth.tar")
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", "model-best.pth.tar"]
    assert load_checkpoint(str(tmp_path / "model-best.pth.tar"))["epoch"] == 1


def save_for_ever(folder: str, epoch: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    while True:
        epoch += 1
        save_checkpoint(state_of(epoch, 200_000), folder, model_name=f"model.pth.tar-{epoch % 2}")


def test_killed_at_any_moment_it_can_be_loaded(tmp_path):
    rng, epoch = random.Random(0), 0
    for _ in range(6):
        process = multiprocessing.get_context("fork").Process(target=save_for_ever, args=(str(tmp_path), epoch))
        process.start()
        deadline = time.time() + 20
        while not (tmp_path / "checkpoint").exists() and time.time() < deadline:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        name = (tmp_path / "checkpoint").read_text().strip()
        checkpoint = load_checkpoint(str(tmp_path / name))
        assert checkpoint["epoch"] >= epoch
        assert (checkpoint["state_dict"]["weight"] == checkpoint["epoch"]).all()
        epoch = checkpoint["epoch"]
    assert epoch > 0


def test_nothing_else_is_unpickled(tmp_path):
    torch.save({"state_dict": {}, "epoch": 1, "extra": Evil(tmp_path / "evil")}, tmp_path / "file")
    with pytest.raises(ValueError, match=r"could run code.*mkdir"):
        load_checkpoint(str(tmp_path / "file"))
    assert not (tmp_path / "evil").exists()


def test_unreadable_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_checkpoint(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="None"):
        load_checkpoint(None)
    whole = Path(save_checkpoint(state_of(1), str(tmp_path))).read_bytes()
    for part in (whole[: len(whole) // 2], whole[50:], b"", b"text", b"a longer text", bytes(range(256))):
        (tmp_path / "part").write_bytes(part)
        with pytest.raises(ValueError, match=r"part .*no checkpoint"):
            load_checkpoint(str(tmp_path / "part"))


def run(optim: str, values: dict):
    node = get_cfg_default().OPTIM
    for key, value in {**values, "NAME": optim}.items():
        node[key] = value
    torch.manual_seed(0)
    model = nn.Linear(2, 1)
    optimizer = build_optimizer(model, node)
    return model, optimizer, build_lr_scheduler(optimizer, node)


def step(model, optimizer, scheduler) -> float:
    lr = optimizer.param_groups[0]["lr"]
    optimizer.zero_grad()
    model(torch.ones(3, 2)).pow(2).sum().backward()
    optimizer.step()
    scheduler.step()
    return lr


@pytest.mark.parametrize("optim", ["sgd", "adam", "adamw", "amsgrad", "rmsprop", "radam"])
@pytest.mark.parametrize(
    "schedule", ["coop_cosine_const1_ep10", "single_step_3_const2_ep10", "multi_step_2_6_lin2_ep10"]
)
def test_upstreams_warmup_checkpoint_is_taken_and_goes_on(tmp_path, optim, schedule):
    """It holds the successor object and, through it, a second optimiser."""
    golden = LR_GOLDENS[schedule]
    model, optimizer, scheduler = run(optim, golden["cfg"])
    for _ in range(4):
        step(model, optimizer, scheduler)
    state = {
        "state_dict": model.state_dict(),
        "epoch": 4,
        "optimizer": optimizer.state_dict(),
        "scheduler": {k: v for k, v in vars(scheduler).items() if k != "optimizer"},
        "val_result": None,
    }
    assert isinstance(state["scheduler"]["successor"], torch.optim.lr_scheduler.LRScheduler)
    torch.save(state, tmp_path / "model.pth.tar-4")
    (tmp_path / "checkpoint").write_text("model.pth.tar-4\n")
    expected_rates = [step(model, optimizer, scheduler) for _ in range(5)]

    resumed = run(optim, golden["cfg"])
    assert resume_from_checkpoint(str(tmp_path), *resumed) == 4
    assert resumed[2].successor.optimizer is resumed[1]
    assert [step(*resumed) for _ in range(5)] == expected_rates == golden["lr_used_in_epoch"][4:9]
    assert torch.equal(resumed[0].weight, model.weight)


def test_changed_length_of_training_is_said(tmp_path):
    values = {"LR_SCHEDULER": "cosine", "WARMUP_EPOCH": 1, "MAX_EPOCH": 10}
    model, optimizer, scheduler = run("sgd", values)
    state = {"state_dict": model.state_dict(), "epoch": 1, "scheduler": scheduler.state_dict()}
    path = save_checkpoint(state, str(tmp_path))
    with pytest.warns(UserWarning, match="for 10 epochs.*MAX_EPOCH is 20"):
        resume_from_checkpoint(path, *run("sgd", {**values, "MAX_EPOCH": 20}))


def test_random_generators_go_back(tmp_path):
    def draw():
        return random.random(), np.random.normal(), torch.rand(1).item(), np.random.rand()

    np.random.normal()  # leaves a second value behind, which belongs to the state
    torch.save(module.get_random_state(), tmp_path / "state")
    expected = draw()
    draw()
    module.set_random_state(torch.load(tmp_path / "state", weights_only=True))
    assert draw() == expected
