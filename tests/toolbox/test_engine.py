"""The trainers' parts one by one: registration, modes, steps, hooks, two loaders, and the default model."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn

from dassl.engine import SimpleTrainer, TrainerBase, TrainerX, TrainerXU, build_trainer


@pytest.fixture
def trainer():
    """Two registered models, of which one learns."""
    trainer = TrainerBase()
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optim = torch.optim.SGD(model.parameters(), lr=0.5)
    trainer.register_model("a", model, optim, torch.optim.lr_scheduler.StepLR(optim, 1, gamma=0.1))
    trainer.register_model("b", nn.Dropout())
    return trainer


def test_registration(trainer):
    assert trainer.get_model_names() == ["a", "b"]
    assert trainer.get_model_names("b") == ["b"]
    with pytest.raises(ValueError, match=r"\[c\]"):
        trainer.get_model_names(["a", "c"])
    for error in (ValueError, AssertionError):  # the latter is upstream's
        with pytest.raises(error, match="'a' is registered already"):
            trainer.register_model("a", nn.Linear(1, 1))
    assert trainer._models.popitem()[0] == "b"  # CLAP takes models out like this


def test_registration_needs_the_base_constructor():
    class Early(TrainerBase):
        def __init__(self):
            self.register_model("a", nn.Linear(1, 1))

    with pytest.raises(AttributeError, match=r"super\(\).__init__"):
        Early()


def test_modes(trainer):
    for mode, training in (("eval", False), ("train", True), ("test", False)):
        trainer.set_model_mode(mode)
        assert [trainer._models[name].training for name in "ab"] == [training, training]
    trainer.set_model_mode("train", ["b"])
    assert [trainer._models[name].training for name in "ab"] == [False, True]
    with pytest.raises(KeyError, match="evaluate"):
        trainer.set_model_mode("evaluate")


def test_steps(trainer):
    model = trainer._models["a"]
    for expected in (0.5, 0.0):  # gradients do not add up over steps
        trainer.model_backward_and_update(model(torch.ones(1, 1)).sum())
        assert model.weight.item() == expected
    trainer.update_lr()
    assert trainer._optims["a"].param_groups[0]["lr"] == pytest.approx(0.05)
    for value in (float("nan"), float("inf")):
        with pytest.raises(FloatingPointError, match="Loss is infinite or NaN!"):
            trainer.model_backward_and_update(model(torch.ones(1, 1)).sum() * value)
    assert model.weight.item() == 0.0


def test_hooks_are_called_in_order():
    calls = []

    class Recorder(TrainerBase):
        def before_train(self):
            calls.append("before_train")
            self.start_epoch = 1

        def after_train(self):
            calls.append("after_train")

        def before_epoch(self):
            calls.append(f"before_epoch {self.epoch}")

        def run_epoch(self):
            calls.append(f"run_epoch {self.epoch}")

        def after_epoch(self):
            calls.append(f"after_epoch {self.epoch}")

    recorder = Recorder()
    recorder.train(0, 3)
    epochs = [f"{hook} {epoch}" for epoch in (1, 2) for hook in ("before_epoch", "run_epoch", "after_epoch")]
    assert calls == ["before_train", *epochs, "after_train"]
    assert (recorder.start_epoch, recorder.max_epoch) == (1, 3)


def test_constructor_order(cfg):
    seen = []

    class Order(TrainerX):
        def check_cfg(self, cfg):
            seen.append(("check_cfg", hasattr(self, "cfg")))

        def build_data_loader(self):
            seen.append(("build_data_loader", self.device.type, self.cfg.OPTIM.MAX_EPOCH, self.output_dir))
            super().build_data_loader()

        def build_model(self):
            ready = [
                self.dm,
                self.device,
                self.train_loader_x,
                self.val_loader,
                self.test_loader,
                self.lab2cname,
            ]
            seen.append(("build_model", self.num_classes, self.num_source_domains, all(x is not None for x in ready)))

    trainer = Order(cfg)
    assert seen == [
        ("check_cfg", False),
        ("build_data_loader", "cpu", 5, cfg.OUTPUT_DIR),
        ("build_model", 3, 0, True),
    ]
    assert trainer.best_result == -float("inf")
    assert trainer.get_model_names() == []  # as zero-shot trainers


def test_zero_shot_trainer_only_evaluates(cfg):
    class ZeroShot(TrainerX):
        def build_model(self):
            self.weights = torch.eye(3)

        def model_inference(self, image):
            return image.mean((2, 3)) @ self.weights

    trainer = ZeroShot(cfg)
    trainer.load_model("")
    assert trainer.test() > 60  # discs are red, boxes green, crosses blue


def test_unknown_trainer_and_evaluator_say_what_there_is(cfg):
    cfg.TRAINER.NAME = "NoSuchTrainer"
    with pytest.raises(ValueError, match="NoSuchTrainer.*Available"):
        build_trainer(cfg)


# ---------------------------------------------------------------------- labelled and unlabelled images


@pytest.mark.parametrize(("count", "expected"), [("train_x", 3), ("train_u", 4), ("smaller_one", 3)])
def test_two_loaders(cfg, monkeypatch, count, expected):
    from dassl.data import DataManager, data_manager

    data = DataManager(cfg).dataset
    data._train_u = data.test
    monkeypatch.setattr(data_manager, "build_dataset", lambda cfg: data)
    cfg.DATALOADER.TRAIN_U.SAME_AS_X = False
    cfg.DATALOADER.TRAIN_U.BATCH_SIZE = 4
    cfg.TRAIN.COUNT_ITER = count
    batches = []

    class Both(TrainerXU):
        def build_model(self):
            self.model = nn.Linear(1, 1)
            self.register_model("model", self.model)

        def forward_backward(self, batch_x, batch_u):
            image_x, label, domain, image_u = self.parse_batch_train(batch_x, batch_u)
            batches.append((len(image_x), len(label), len(domain), len(image_u), batch_x["index"].tolist()))

    trainer = Both(cfg)
    trainer.run_epoch()
    assert [b[:4] for b in batches] == [(8, 8, 8, 4)] * expected
    assert trainer.num_batches == expected
    assert sorted(sum((b[4] for b in batches[:3]), [])) == list(range(24))
    cfg.TRAIN.COUNT_ITER = "longer_one"
    with pytest.raises(ValueError, match="longer_one.*smaller_one"):
        trainer.run_epoch()
    trainer.train_loader_u = None
    with pytest.raises(ValueError, match="unlabelled"):
        trainer.run_epoch()


# ---------------------------------------------------------------------- the default model


class Vanilla(TrainerX):
    """Cross entropy on SimpleNet."""

    def forward_backward(self, batch):
        image, label, _ = self.parse_batch_train(batch)
        loss = nn.functional.cross_entropy(self.model(image), label)
        self.model_backward_and_update(loss)
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()
        return {"loss": loss.item()}


def test_default_model_trains_selects_and_deploys(cfg, capsys):
    cfg.MODEL.BACKBONE.NAME = "toolbox_tiny"
    cfg.MODEL.HEAD.NAME, cfg.MODEL.HEAD.HIDDEN_LAYERS = "mlp", [8]
    cfg.TEST.FINAL_MODEL = "best_val"
    cfg.TEST.PER_CLASS_RESULT = True
    torch.manual_seed(0)
    trainer = Vanilla(cfg)
    trainer.train()
    out = capsys.readouterr().out
    assert "Building model\nBackbone: toolbox_tiny\nHead: mlp\n# params: 6,195\n" in out
    assert "=> per-class result\n* class: 0 (disc)\ttotal: 6\t" in out
    assert "Load model from " in out
    assert trainer.best_result > 50
    again = Vanilla(cfg)
    again.load_model(cfg.OUTPUT_DIR)
    assert again.test("val") == trainer.best_result


def test_progress_bar_goes_to_stderr_of_a_terminal(cfg, capsys, monkeypatch):
    cfg.MODEL.BACKBONE.NAME = "toolbox_tiny"
    Vanilla(cfg).test()
    captured = capsys.readouterr()
    assert "%|" not in captured.err + captured.out
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stderr", terminal)
    Vanilla(cfg).test()
    assert "Testing on test: " in terminal.getvalue()
    assert "%|" not in capsys.readouterr().out


def test_learning_rate_of_a_trainer_without_optimiser(cfg):
    class Plain(SimpleTrainer):
        def build_model(self):
            self.register_model("model", nn.Linear(1, 1))

    assert Plain(cfg).get_current_lr() == 0.0
