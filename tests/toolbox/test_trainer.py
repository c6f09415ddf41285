"""A trainer in the manner of CoOp's, on rendered pictures: training, log, files, evaluation."""

from __future__ import annotations

import math
import os
import os.path as osp
import re
import sys
from pathlib import Path

import pytest
import torch

from dassl.engine import TrainerX
from dassl.utils import setup_logger
from dassl.utils.event_log import EventLog

NAME = "prompt_learner"
LINE = (
    r"epoch \[(\d+)/(\d+)\] batch \[(\d+)/(\d+)\] time \d+\.\d{3} \(\d+\.\d{3}\) "
    r"data \d+\.\d{3} \(\d+\.\d{3}\) loss \d+\.\d{4} \(\d+\.\d{4}\) acc \d+\.\d{4} \(\d+\.\d{4}\) "
    r"lr (\d\.\d{4}e-\d\d) eta \d+:\d\d:\d\d"
)


def files(cfg) -> list[str]:
    return sorted(os.listdir(osp.join(cfg.OUTPUT_DIR, NAME)))


def pointer(cfg) -> str:
    return Path(cfg.OUTPUT_DIR, NAME, "checkpoint").read_text()


LEARNING_RATES = [1e-5, 0.02, *(0.01 * (1 + math.cos(i * math.pi / 5)) for i in (1, 2, 3))]


def test_training_log_and_files(cfg, make):
    setup_logger(cfg.OUTPUT_DIR)
    trainer = make(cfg)
    cfg.freeze()
    trainer.train()
    sys.stdout.close()
    log = Path(cfg.OUTPUT_DIR, "log.txt").read_text()
    expected = [
        "Loading trainer: ToolboxCoOp",
        "Loading dataset: ToolboxPictures",
        "Building transform_train",
        "Building transform_test",
        "Loading evaluator: Classification",
        "No checkpoint found, train from scratch",
        f"Initialize tensorboard (log_dir={cfg.OUTPUT_DIR}/tensorboard)",
        "epoch [1/5] batch [1/3]",
        "epoch [5/5] batch [3/3]",
        f"Checkpoint saved to {cfg.OUTPUT_DIR}/{NAME}/model.pth.tar-5",
        "Finish training",
        "Deploy the last-epoch model",
        "Evaluate on the *test* set",
        "=> result",
        "* total: 18",
        "* correct: ",
        "* accuracy: ",
        "Elapsed: 0:0",
    ]
    position = 0
    for text in expected:
        found = log.find(f"\n{text}", position) if position else log.find(text)
        assert found >= 0, f"{text!r} not found in order in:\n{log}"
        position = found + 1
    lines = re.findall(f"^{LINE}$", log, re.M)
    counts = [tuple(map(int, line[:4])) for line in lines]
    assert counts == [(e, 5, b, 3) for e in range(1, 6) for b in range(1, 4)]
    # The last batch of an epoch shows the next epoch's rate: the trainer has stepped the schedule by then.
    assert [float(line[4]) for line in lines[::3]] == pytest.approx(LEARNING_RATES, rel=1e-4)
    assert [float(line[4]) for line in lines[2:-1:3]] == pytest.approx(LEARNING_RATES[1:], rel=1e-4)
    assert "it/s" not in log  # the progress bar goes elsewhere

    accuracy = re.search(r"\* accuracy: ([\d.]+)%", log)[1]
    assert float(accuracy) > 60  # it learns: chance is 33
    assert trainer.used == [(e, pytest.approx(LEARNING_RATES[e])) for e in range(5) for _ in range(3)]
    assert files(cfg) == ["checkpoint", "model.pth.tar-5"]
    assert pointer(cfg) == "model.pth.tar-5\n"
    assert any(name.startswith("events") for name in os.listdir(osp.join(cfg.OUTPUT_DIR, "tensorboard")))


def test_checkpoint_content(cfg, make):
    trainer = make(cfg)
    trainer.train()
    path = osp.join(cfg.OUTPUT_DIR, NAME, "model.pth.tar-5")
    checkpoint = torch.load(path, weights_only=True)  # plain values, though a warm-up was used
    assert {"state_dict", "epoch", "optimizer", "scheduler", "val_result"} <= set(checkpoint)
    assert (checkpoint["epoch"], checkpoint["val_result"]) == (5, None)
    assert list(checkpoint["state_dict"]) == ["ctx", "token_prefix"]
    assert checkpoint["scheduler"]["successor"]["T_max"] == 5.0


def test_finished_run_only_tests_again(cfg, capsys, make):
    make(cfg).train()
    capsys.readouterr()
    trainer = make(cfg)
    trainer.train()
    out = capsys.readouterr().out
    assert trainer.used == []
    assert f"Found checkpoint at {cfg.OUTPUT_DIR} (will resume training)" in out
    assert out.count("=> result") == 1


# ------------------------------------------------------------------ evaluation only, and loading


def test_evaluation_only(cfg, capsys, make):
    trained = make(cfg)
    trained.train()
    reference = trained.test()
    trainer = make(cfg)
    untrained = trainer.test()
    capsys.readouterr()
    trainer.load_model(cfg.OUTPUT_DIR, epoch=5)
    assert trainer.test() == reference != untrained
    assert type(reference) is float
    assert trainer.test(split="val") >= 0
    assert "Evaluate on the *val* set" in capsys.readouterr().out
    trainer.val_loader = None
    trainer.test(split="val")
    assert "Evaluate on the *test* set" in capsys.readouterr().out


def test_base_load_model(cfg, capsys, make):
    make(cfg).train()
    trainer = make(cfg)
    capsys.readouterr()
    TrainerX.load_model(trainer, cfg.OUTPUT_DIR, epoch=5)  # has no validation result
    assert "(epoch=5, val_result=none)" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match=r"model-best\.pth\.tar.*name the epoch"):
        TrainerX.load_model(trainer, cfg.OUTPUT_DIR)
    TrainerX.load_model(trainer, "")
    assert "skipped" in capsys.readouterr().out
    trainer.save_model(4, cfg.OUTPUT_DIR, val_result=71.25, model_name="model-best.pth.tar")
    TrainerX.load_model(trainer, cfg.OUTPUT_DIR)
    assert "val_result=71.2" in capsys.readouterr().out


def test_the_scalars_of_a_step_are_one_event(tmp_path):
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    log = EventLog(str(tmp_path))
    for step, tag in [(0, "a"), (0, "b"), (1, "a"), (1, "b"), (1, "a"), (None, "b")]:
        log.add_scalar(tag, torch.tensor(0.5 + (step or 0)), step)
    log.add_scalar("old", 1.0, 7, walltime=3.0)
    log.close()
    events = [event for event in EventFileLoader(str(next(tmp_path.iterdir()))).Load() if event.summary.value]
    told = [(event.step, [value.tag for value in event.summary.value]) for event in events]
    assert told == [(0, ["a", "b"]), (1, ["a", "b"]), (1, ["a"]), (0, ["b"]), (7, ["old"])]
    assert [value.tensor.float_val[0] for event in events for value in event.summary.value][:4] == [0.5, 0.5, 1.5, 1.5]
    assert events[-1].wall_time == 3.0
