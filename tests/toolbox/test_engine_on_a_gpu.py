"""The engine's trainers on a make-believe GPU: as on the CPU."""

from __future__ import annotations

import os.path as osp

import pytest
import torch
from torch import nn

from dassl.data import DataManager, data_manager
from dassl.engine import TrainerX, TrainerXU
from dassl.utils import set_random_seed
from helpers.make_believe_gpu import make_believe


def test_a_trainer_in_the_manner_of_coops(cfg, make, interrupted):
    """Trained undisturbed on the CPU; interrupted, resumed and loaded on the GPU."""
    expected = make(cfg)
    expected.train()
    cfg.defrost()
    cfg.OUTPUT_DIR, cfg.USE_CUDA = osp.join(cfg.OUTPUT_DIR, "gpu"), True
    cfg.TRAIN.CHECKPOINT_FREQ = 1
    with make_believe():
        interrupted(cfg, stop_before=3)
        trainer = make(cfg)
        trainer.train()
        assert trainer.start_epoch == 3
        context = trainer.model.prompt_learner.ctx
        assert context.is_cuda
        torch.testing.assert_close(context.detach().cpu(), expected.model.prompt_learner.ctx.detach())
        again = make(cfg)
        again.load_model(cfg.OUTPUT_DIR, epoch=5)
        assert again.test() == trainer.test() == expected.test()


class Vanilla(TrainerX):
    """Cross entropy on SimpleNet."""

    def forward_backward(self, batch):
        image, label, domain = self.parse_batch_train(batch)
        loss = nn.functional.cross_entropy(self.model(image), label) + 0 * domain.sum()
        self.model_backward_and_update(loss)
        return {"loss": loss.item()}


@pytest.mark.parametrize("name", ["sgd", "radam"])
def test_the_default_model(cfg, name):
    cfg.MODEL.BACKBONE.NAME, cfg.OPTIM.NAME, cfg.OPTIM.MAX_EPOCH = "toolbox_tiny", name, 3
    cfg.TEST.FINAL_MODEL, cfg.TEST.COMPUTE_CMAT = "best_val", True
    results = []
    for cuda in (False, True):
        cfg.USE_CUDA, cfg.OUTPUT_DIR = cuda, osp.join(cfg.OUTPUT_DIR, str(cuda))
        set_random_seed(1)
        with make_believe():
            trainer = Vanilla(cfg)
            trainer.train()
            assert trainer.device.type == ("cuda" if cuda else "cpu")
            results.append((trainer.best_result, trainer.test("val"), trainer.test()))
    assert results[0] == results[1]


class Both(TrainerXU):
    """Labelled and unlabelled images through one model."""

    def build_model(self):
        self.model = nn.Linear(3, 3).to(self.device)
        self.register_model("model", self.model)

    def forward_backward(self, batch_x, batch_u):
        image_x, label, domain, image_u = self.parse_batch_train(batch_x, batch_u)
        assert self.model(image_u.mean((2, 3))).is_cuda
        loss = nn.functional.cross_entropy(self.model(image_x.mean((2, 3))), label) + domain.sum()
        return {"loss": loss.item()}


def test_two_loaders(cfg, monkeypatch, make_believe_gpu):
    data = DataManager(cfg).dataset
    data._train_u = data.test
    monkeypatch.setattr(data_manager, "build_dataset", lambda cfg: data)
    cfg.DATALOADER.TRAIN_U.SAME_AS_X, cfg.USE_CUDA = False, True
    trainer = Both(cfg)
    trainer.run_epoch()
    assert trainer.num_batches > 0
