"""JoAPR: its division against recorded outputs, its losses against naive ones, and a resumed run."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from yacs.config import CfgNode as CN

from helpers.detection_golden import golden
from helpers.images import make_images
from helpers.methods import make_head
from simnl.fewshot.losses import negative_entropy
from simnl.fewshot.trainer import VLTrainer
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from simnl.runs.run import run_one
from simnl.sealed import read_sealed
from trainers.joapr import HISTORY, JoAPR, RefiningLoader, crossing, divide, scaled_losses


@pytest.mark.parametrize("first_seed", [20260, 77041])
def test_parity_with_the_authors_division(first_seed):
    """Scaled losses, posteriors, masks and bounds of three epochs; two seeds of the mixture."""
    tensors = golden("noise")
    labels, history, theta = torch.tensor(tensors["joapr/noisy"]), [], 0.5
    assert negative_entropy(0.1 * torch.tensor(tensors["joapr/logits"])).item() == pytest.approx(
        float(tensors["joapr/neg_entropy"]), rel=2e-6
    )
    for epoch in (1, 2, 3):
        at = f"joapr/epoch{epoch}/"
        logits = float(tensors[at + "scale"]) * torch.tensor(tensors["joapr/logits"])
        losses = scaled_losses(logits, labels)
        np.testing.assert_allclose(losses.numpy(), tensors[at + "loss_min_max_scaled"], atol=2e-6)
        history = [*history, losses.numpy()][-HISTORY:]
        state = np.random.RandomState(first_seed + epoch - 1)
        found = divide(np.array(history).mean(0), theta, state)
        own = 1.0 if epoch == 1 else logits.softmax(1).gather(1, labels[:, None]).squeeze(1).numpy()
        np.testing.assert_allclose(found.posterior * own, tensors[at + "prob"], atol=2e-5)  # the weights
        assert found.right.tolist() == tensors[at + "clean"].astype(bool).tolist()
        theta = found.theta
        assert theta == pytest.approx(float(tensors[at + "threshold_next"]))


def test_where_the_densities_do_not_meet_nothing_is_below():
    assert math.isnan(crossing((0.5, 0.5), (1.0, 1.5)))
    bound = crossing((0.1, 0.8), (0.01, 0.02))
    assert 0.1 < bound < 0.8


def test_the_loss_of_the_warm_up():
    head, task = make_head("JoAPR", 2)
    features, labels = task.support_features[0], task.support_labels
    losses, p = head.losses(features, labels), head(features).softmax(1).tolist()
    naive = sum(sum(x * math.log(x) for x in row) for row in p) / len(p)
    assert losses["entropy"].item() == pytest.approx(0.5 * naive, abs=1e-5)
    ce = -sum(math.log(row[label]) for row, label in zip(p, labels.tolist(), strict=True)) / len(p)
    assert losses["ce"].item() == pytest.approx(ce, abs=1e-5)


def test_the_loss_after_a_division():
    """Refined targets, mixed pairs and the even use of classes, one number at a time."""
    head, task = make_head("JoAPR", 2)
    a, b, labels = task.support_features[0], task.support_features[1], task.support_labels
    count, generator = len(labels), torch.Generator().manual_seed(2)
    right = torch.arange(count) % 3 > 0
    weights, partners = torch.rand(count, generator=generator), torch.randperm(2 * count, generator=generator)
    share = torch.tensor(0.7)
    given = {"second": b, "right": right, "weights": weights, "partners": partners, "share": share}
    losses = head.losses(a, labels, **given)
    p, text = [head(view).detach().double().softmax(1) for view in (a, b)], head.text_features().detach().double()
    targets = []
    for i in range(count):
        guess = (p[0][i] + p[1][i]) / 2
        trust = weights[i].item() * float(right[i])
        target = [trust * float(c == labels[i]) + (1 - trust) * guess[c].item() for c in range(len(guess))]
        total = sum(t * t for t in target)
        targets.append([t * t / total for t in target])
    views = torch.nn.functional.normalize(torch.cat([a, b]).double(), dim=-1)
    total, used = 0.0, torch.zeros(len(text), dtype=torch.float64)
    for i in range(2 * count):
        j = int(partners[i])
        mixed = 0.7 * views[i] + 0.3 * views[j]
        log_p = (head.logit_scale * (mixed / mixed.norm()) @ text.T).log_softmax(0)
        target = [0.7 * x + 0.3 * y for x, y in zip(targets[i % count], targets[j % count], strict=True)]
        total -= sum(t * value.item() for t, value in zip(target, log_p, strict=True)) / (2 * count)
        used += log_p.exp() / (2 * count)
    assert losses["ce"].item() == pytest.approx(total, abs=1e-4)
    even = sum(math.log(1 / len(used) / value.item()) for value in used) / len(used)
    assert losses["even"].item() == pytest.approx(even, abs=1e-4)


def test_batches_have_two_views_once_labels_are_divided():
    loader = RefiningLoader(torch.arange(30.0).view(3, 10, 1), torch.arange(10) % 2, 4, 1, False)
    assert all(set(batch) == {"img", "label", "index"} for batch in loader)
    loader.right, loader.weights, loader.epoch = torch.arange(10) > 4, torch.arange(10) / 10, 2
    batches, again = list(loader), list(loader)
    for batch, other in zip(batches, again, strict=True):
        rows = batch["index"]
        assert torch.equal(batch["img"][:, 0], 20.0 + rows)
        assert torch.equal(batch["second"][:, 0], 0.0 + rows)
        assert torch.equal(batch["weights"], rows / 10)
        assert sorted(batch["partners"].tolist()) == list(range(2 * len(rows)))
        assert 0.5 <= batch["share"] <= 1
        assert all(torch.equal(batch[name], other[name]) for name in batch)


def test_a_resumed_run_goes_on_with_the_losses_of_before(tmp_path, monkeypatch):
    """Killed two epochs after a checkpoint, it learns what an undisturbed run learns; without its losses it is told."""
    for name in ("cat", "dog", "fish"):
        make_images(tmp_path / "images" / name, 8, size=16, seed=len(name))

    def config(name: str):
        settings = {
            "TRAINER.NAME": "JoAPR", "DATASET.CONFIG": "imagefolder", "DATASET.NUM_SHOTS": 2, "USE_CUDA": False,
            "STORE.ROOT": str(tmp_path / "cache"), "OUTPUT_DIR": str(tmp_path / name), "PROTOCOL": "no-val", "SEED": 1,
            "DATASET.FOLDER": str(tmp_path / "images"), "TRAIN.CHECKPOINT_FREQ": 3, "OPTIM.MAX_EPOCH": 6,
            "PROMPTS.POSITIVE": ["a photo of a {}."], "VERBOSE": False,
        }  # fmt: skip
        files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "imagefolder.yaml"]
        return assemble([*files, CONFIGS / "trainers" / "JoAPR.yaml"], [], settings)

    run_one(config("whole"))
    before_epoch = JoAPR.before_epoch

    def killed(self):
        if self.epoch == 5:
            raise KeyboardInterrupt
        before_epoch(self)

    monkeypatch.setattr(JoAPR, "before_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        run_one(config("killed"))
    monkeypatch.undo()
    state = (tmp_path / "killed" / "division.json").read_bytes()
    (tmp_path / "killed" / "division.json").unlink()
    with pytest.raises(ValueError, match=r"division\.json does not hold the losses of epoch 3"):
        run_one(config("killed"))
    (tmp_path / "killed" / "division.json").write_bytes(state)
    run_one(config("killed"))
    learned = [load_file(tmp_path / name / "head.safetensors") for name in ("whole", "killed")]
    assert learned[0].keys() == learned[1].keys()
    assert all(torch.equal(learned[0][key], learned[1][key]) for key in learned[0])


def test_a_run_that_was_killed_in_its_last_checkpoint_goes_on_from_the_one_before(tmp_path, monkeypatch):
    """The last epoch is no multiple of the frequency, so its checkpoint does not follow the one before by as much."""
    trainer = JoAPR.__new__(JoAPR)
    trainer.output_dir, trainer.max_epoch, trainer.theta = str(tmp_path), 25, 0.5
    trainer.cfg = CN({"TRAIN": {"CHECKPOINT_FREQ": 10}})
    monkeypatch.setattr(VLTrainer, "after_epoch", lambda self: None)
    for trainer.epoch in range(25):
        trainer.history = [[float(trainer.epoch)]]
        trainer.after_epoch()
    kept = read_sealed(trainer.state_file)
    assert {number: state["losses"] for number, state in kept.items()} == {"20": [[19.0]], "25": [[24.0]]}
