"""What stands in on new classes for methods that cannot classify them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from dassl.engine import TRAINER_REGISTRY
from helpers.methods import METHODS, make_head, make_trainer
from simnl.fewshot.head import SearchableHead
from simnl.fewshot.new_classes import head_for_new_classes, with_stand_ins
from simnl.fewshot.task import FewShotTask
from simnl.runs.capabilities import refusal

ABLE = [m for m in METHODS if refusal(m, task="cross", fallback="neighbours") is None]
STANDS_IN = [m for m in ABLE if not TRAINER_REGISTRY.get(m).base_to_new]


def other_classes(task: FewShotTask) -> FewShotTask:
    """Three new classes with texts of their own, and no image."""
    generator, prompts = torch.Generator().manual_seed(7), {}
    for name, old in task.prompts.items():
        features = torch.randn(6, old.features.shape[1], generator=generator)
        prompts[name] = replace(old, features=features, classes=torch.arange(3).repeat(2))
    none = task.support_labels[:0]
    return replace(
        task, support_features=task.support_features[:1, :0], support_labels=none, support_classes=none,
        prompts=prompts, classnames=("one", "two", "three"),
    )  # fmt: skip


def trained(method: str):
    """A trainer as a run leaves it."""
    trainer = make_trainer(method)
    trainer.device = torch.device("cpu")
    trainer.head, trainer.task = make_head(method, 3)
    return trainer


def test_the_nearest_images_of_each_text_stand_in():
    _, memory = make_head("TipAdapter", 3)
    task = with_stand_ins(other_classes(memory), memory)
    text, found = task.text_features("template").double(), []
    keys = F.normalize(memory.support_features.mean(0).double(), dim=-1)
    for c in range(3):
        cosines = [float(key @ text[c]) for key in keys]
        found += sorted(range(len(keys)), key=lambda n: -cosines[n])[:3]  # as many as the run has shots
    torch.testing.assert_close(task.support_features, memory.support_features[:, found], rtol=0, atol=0)
    assert task.support_labels.tolist() == task.support_classes.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_which_methods_they_are():
    assert STANDS_IN == ["APE", "CCA", "GDA", "ProKeR", "ReHARK", "TIMO", "TIMOS", "TipAdapter"]
    with_text = [m for m in METHODS if refusal(m, task="cross", fallback="text") is None]
    assert sorted({*METHODS} - {*with_text}) == ["LSN", "LinearProbe", "TransCLIP"]
    assert "neighbours is for training-free methods" in refusal("SimNL", task="cross", fallback="neighbours")
    assert "reads no text" in refusal("LinearProbe", task="base2new", fallback="text")
    assert "fitted to the support images" in refusal("TransCLIP", task="base2new", fallback="neighbours")


@pytest.mark.parametrize("method", STANDS_IN)
def test_a_head_of_neighbours_is_the_method_on_them(method):
    trainer, features = trained(method), torch.randn(4, 128, generator=torch.Generator().manual_seed(1))
    trainer.head.hparams["alpha"] = 0.7  # as if chosen
    task = other_classes(trainer.task)
    head = head_for_new_classes(trainer, task, "neighbours")
    wanted = trainer.build_head(with_stand_ins(task, trainer.task), trainer.node)
    assert isinstance(head, SearchableHead)
    wanted.hparams |= {"alpha": 0.7}
    assert head.hparams == wanted.hparams
    torch.testing.assert_close(head(features), wanted(features), rtol=0, atol=0)
    assert head(features).shape == (4, 3)


def test_beta_of_timo_follows_the_number_of_prompts():
    """Of twice as many prompts per class, twice as many stand beside the images."""
    trainer = trained("TIMOS")
    task = other_classes(trainer.task)
    prompts = {n: replace(p, features=p.features.repeat(2, 1), classes=p.classes.repeat(2))
               for n, p in task.prompts.items()}  # fmt: skip
    trainer.head.hparams["beta"] = 8.0  # each of the four prompts twice
    head = head_for_new_classes(trainer, replace(task, prompts=prompts), "neighbours")
    assert (trainer.head.num_prompts, head.num_prompts, head.hparams["beta"]) == (4, 8, 16.0)


def test_the_text_classifier_stands_in_for_what_learns():
    trainer = trained("SimNL")
    task = other_classes(trainer.task)
    features = torch.randn(4, 128, generator=torch.Generator().manual_seed(1))
    logits = head_for_new_classes(trainer, task, "text")(features)
    wanted = 50.0 * F.normalize(features, dim=-1) @ task.text_features("template").T
    torch.testing.assert_close(logits, wanted)


def test_what_can_classify_new_classes_does_so_whatever_stands_in_for_others():
    trainer = trained("CLIPAdapter")
    task = other_classes(trainer.task)
    torch.nn.init.normal_(next(trainer.head.parameters()))
    features = torch.randn(4, 128, generator=torch.Generator().manual_seed(1))
    heads = [head_for_new_classes(trainer, task, rule) for rule in ("refuse", "text", "neighbours")]
    assert torch.equal(heads[0](features), heads[1](features))
    assert torch.equal(heads[0](features), heads[2](features))
