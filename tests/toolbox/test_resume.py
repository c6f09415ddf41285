"""A trainer in the manner of CoOp's, on rendered pictures: resuming, best epoch, killed runs."""

from __future__ import annotations

import os
import os.path as osp
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
import torch
from torch import nn

from dassl.engine import TRAINER_REGISTRY
from dassl.utils import checkpoint as checkpoint_module
from dassl.utils import load_checkpoint

NAME = "prompt_learner"


def files(cfg) -> list[str]:
    return sorted(os.listdir(osp.join(cfg.OUTPUT_DIR, NAME)))


def pointer(cfg) -> str:
    return Path(cfg.OUTPUT_DIR, NAME, "checkpoint").read_text()


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("final", ["last_step", "best_val"])
def test_resumed_run_equals_an_undisturbed_one(cfg, tmp_path, workers, final, make, interrupted):
    """Twice interrupted: learning rates, epochs, weights and every random draw."""
    cfg.DATALOADER.NUM_WORKERS = workers
    cfg.TEST.FINAL_MODEL = final
    cfg.TRAIN.CHECKPOINT_FREQ = 1
    whole = make(cfg)
    whole.train()
    cfg.OUTPUT_DIR = str(tmp_path / "again")
    first = interrupted(cfg, stop_before=1)
    second = interrupted(cfg, stop_before=3)
    third = make(cfg)
    third.train()
    assert (second.start_epoch, third.start_epoch) == (1, 3)
    assert first.used + second.used + third.used == whole.used
    assert third.best_result == whole.best_result
    assert torch.equal(third.model.prompt_learner.ctx, whole.model.prompt_learner.ctx)


def test_resume_key_names_another_folder(cfg, tmp_path, make, interrupted):
    cfg.TRAIN.CHECKPOINT_FREQ = 2
    first = interrupted(cfg, stop_before=3)
    cfg.RESUME, cfg.OUTPUT_DIR = cfg.OUTPUT_DIR, str(tmp_path / "other")
    trainer = make(cfg)
    trainer.train()
    assert (first.start_epoch, trainer.start_epoch) == (0, 2)
    assert files(cfg) == ["checkpoint", "model.pth.tar-4", "model.pth.tar-5"]


# ---------------------------------------------------------------------- selection on validation images


@pytest.fixture
def scripted(cfg, monkeypatch, coop):
    """A configuration of a trainer whose validation results are given."""

    class Scripted(coop):
        results = [50.0, 80.0, 60.0, 80.0, 70.0]

        def test(self, split=None):
            return self.results[self.epoch] if split == "val" else super().test(split)

    monkeypatch.setitem(TRAINER_REGISTRY._obj_map, "ToolboxCoOp", Scripted)
    cfg.TEST.FINAL_MODEL = "best_val"
    return cfg


def test_best_epoch_is_kept_and_deployed(scripted, capsys, make):
    trainer = make(scripted)
    trainer.train()
    assert "Deploy the model with the best val performance" in capsys.readouterr().out
    assert files(scripted) == ["checkpoint", "model-best.pth.tar", "model.pth.tar-5"]
    best = load_checkpoint(osp.join(scripted.OUTPUT_DIR, NAME, "model-best.pth.tar"))
    assert (best["epoch"], best["val_result"]) == (2, 80.0)  # strictly better only: not epoch 4
    assert torch.equal(trainer.model.prompt_learner.ctx, best["state_dict"]["ctx"])
    last = load_checkpoint(osp.join(scripted.OUTPUT_DIR, NAME, "model.pth.tar-5"))
    assert not torch.equal(best["state_dict"]["ctx"], last["state_dict"]["ctx"])


def test_interrupted_selection_goes_on_from_the_last_epoch(scripted, make, interrupted):
    """Upstream went back to the best epoch without a word, and then took a worse one for the best."""
    interrupted(scripted, stop_before=3)
    assert files(scripted) == ["checkpoint", "model-best.pth.tar", "model.pth.tar-3"]
    assert pointer(scripted) == "model.pth.tar-3\n"
    trainer = make(scripted)
    trainer.train()
    assert trainer.start_epoch == 3
    assert trainer.best_result == 80.0
    best = load_checkpoint(osp.join(scripted.OUTPUT_DIR, NAME, "model-best.pth.tar"))
    assert (best["epoch"], best["best_result"]) == (2, 80.0)


def test_upstreams_interrupted_selection(scripted, capsys, make, interrupted):
    """Its pointer names the best epoch, and its files lack the keys that were added."""
    interrupted(scripted, stop_before=3)
    folder = Path(scripted.OUTPUT_DIR, NAME)
    state = load_checkpoint(str(folder / "model-best.pth.tar"))
    for key in ("best_result", "random_state"):
        del state[key]
    torch.save(state, folder / "model-best.pth.tar")
    (folder / "checkpoint").write_text("model-best.pth.tar\n")
    trainer = make(scripted)
    capsys.readouterr()
    assert trainer.resume_model_if_exist(scripted.OUTPUT_DIR) == 2
    assert "that of the best epoch, 2" in capsys.readouterr().out
    assert trainer.best_result == 80.0


def test_selection_without_validation_images_is_said(scripted, make):
    trainer = make(scripted)
    trainer.val_loader = None
    with pytest.warns(UserWarning, match="no validation images"):
        trainer.before_train()


# ---------------------------------------------------------------------- runs that were killed


def test_killed_in_the_first_save_starts_anew(cfg, make):
    folder = Path(cfg.OUTPUT_DIR, NAME)
    folder.mkdir(parents=True)
    (folder / ".model.pth.tar-1.123.tmp").write_bytes(b"half of it")
    assert make(cfg).resume_model_if_exist(cfg.OUTPUT_DIR) == 0


@pytest.mark.parametrize("final", ["last_step", "best_val"])
def test_killed_between_any_two_writes_it_resumes(cfg, monkeypatch, final, coop, make):
    """Stops the run at its n-th file replacement, for all n, with two models that must be of one epoch."""
    cfg.TEST.FINAL_MODEL, cfg.OPTIM.MAX_EPOCH, cfg.VERBOSE = final, 3, False
    cfg.TRAIN.CHECKPOINT_FREQ = 1 if final == "last_step" else 0
    replace, starts = os.replace, []

    class Two(coop):
        def build_model(self):
            super().build_model()
            self.register_model("second", self.second_model())

        @staticmethod
        def second_model():
            model = nn.Linear(1, 1)
            model.register_buffer("epoch", torch.zeros(()))
            return model

        def after_epoch(self):
            self._models["second"].epoch.fill_(self.epoch + 1)
            super().after_epoch()

    monkeypatch.setitem(TRAINER_REGISTRY._obj_map, "ToolboxCoOp", Two)
    folder = Path(cfg.OUTPUT_DIR)
    for allowed in count(1):
        cfg.OUTPUT_DIR = str(folder / str(allowed))
        left = iter(range(allowed))

        def killing(source, target, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            replace(source, target)

        trainer = make(cfg)
        monkeypatch.setattr(os, "replace", killing)
        with suppress(KeyboardInterrupt):
            trainer.train()
        monkeypatch.setattr(os, "replace", replace)
        trainer.close_writer()
        resumed = make(cfg)
        starts.append(resumed.resume_model_if_exist(cfg.OUTPUT_DIR))
        assert resumed._models["second"].epoch.item() == starts[-1]
        last = trainer.used[-1][0]
        assert starts[-1] in (last, last + 1)  # at most the epoch that was being saved is lost
        if next(left, None) is not None:
            break  # it was not stopped
    assert starts == sorted(starts)
    assert set(starts) == {0, 1, 2, 3}


def test_pointer_to_nothing_says_what_to_do(cfg, make):
    make(cfg).train()
    Path(cfg.OUTPUT_DIR, NAME, "model.pth.tar-5").unlink()
    with pytest.raises(FileNotFoundError, match=r"names model\.pth\.tar-5, which is not there"):
        make(cfg).train()


def test_models_of_different_epochs_are_not_mixed(cfg, capsys, make):
    trainer = make(cfg)
    trainer.register_model("other", nn.Linear(1, 1))
    trainer.save_model(1, cfg.OUTPUT_DIR)
    trainer._models.pop("other")
    trainer.save_model(2, cfg.OUTPUT_DIR)
    Path(cfg.OUTPUT_DIR, NAME, "model.pth.tar-2").unlink()
    trainer.register_model("third", nn.Linear(1, 1))
    assert trainer.resume_model_if_exist(cfg.OUTPUT_DIR) == 0  # the third has no checkpoint
    names = [NAME, "other"]
    assert checkpoint_module.find_checkpoints(cfg.OUTPUT_DIR, names) is None
    assert "different epochs" in capsys.readouterr().out
