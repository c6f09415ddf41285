"""ReHARK against an evaluation in float64, written out from the formulas."""

from __future__ import annotations

import math

import pytest
import torch

from helpers.cache_heads import LABELS, queries, support
from helpers.methods import make_head as registered_head
from helpers.methods import make_task, make_trainer
from simnl.fewshot.loaders import LabelledFeatures
from trainers.rehark import ReHARKHead, ReHARKOptions, TransductiveReHARKHead

SETTING = {
    "beta1": 3.0, "beta2": 0.4, "mix_k": 0.7, "lmbda": 0.2, "soft": 0.3, "var_adj": 0.6, "alpha_txt": 0.25,
    "refine_w": 0.4, "blend_img": 0.8, "power": 0.7, "alpha": 4.0,
}  # fmt: skip


def make_head(labels: list[int], kind=ReHARKHead, **options) -> ReHARKHead:
    given = support(labels)
    sentences = torch.nn.functional.normalize(given["text"].flip(0) + given["text"], dim=-1)
    reference = torch.nn.functional.normalize(queries(7) * 2 + 1, dim=-1)
    rows = {"rows": given["cache_keys"], "labels": given["labels"]}
    return kind(text=given["text"], sentences=sentences, reference=reference, **rows, **(SETTING | options))


def unit(x):
    return x / x.norm()


def naive(head: ReHARKHead, labels: list[int], features: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    h, classes = SETTING, len(head.text)

    def phi(u):
        return unit(torch.stack([v.sign() * abs(v) ** h["power"] for v in u]))

    def kernel(u, w):
        distance = float((u - w) @ (u - w))
        return h["mix_k"] * math.exp(-h["beta1"] * distance) + (1 - h["mix_k"]) * math.exp(-h["beta2"] * distance)

    x, pi = [phi(row) for row in head.rows], []
    for c in range(classes):
        text = unit((1 - h["alpha_txt"]) * phi(head.text[c]) + h["alpha_txt"] * phi(head.sentences[c]))
        mine = [row for row, y in zip(x, labels, strict=True) if y == c]
        share = h["refine_w"] if mine else 0.0
        pi.append(unit((1 - share) * text + share * (unit(sum(mine)) if mine else 0)))
    rows = x + [unit(row + h["blend_img"] * pi[y]) for row, y in zip(x, labels, strict=True)]
    targets = labels + labels
    gram = torch.tensor([[kernel(u, w) for w in rows] for u in rows], dtype=torch.float64)
    lacking = torch.tensor(
        [
            [(y == c) - h["alpha"] * float(r @ pi[c]) for c in range(classes)]
            for r, y in zip(rows, targets, strict=True)
        ],
        dtype=torch.float64,
    )
    weights = torch.linalg.inv(gram + h["lmbda"] * torch.eye(len(rows), dtype=torch.float64)) @ lacking
    v, stack = torch.stack([phi(f) for f in features]), torch.stack(rows)
    ref = torch.stack([phi(f) for f in reference])
    stretch = ((stack.std(0) + 1e-6) / (ref.std(0) + 1e-6)) ** h["var_adj"]
    wanted = []
    for f in v:
        f = unit((f - ref.mean(0)) * stretch + ref.mean(0) - h["soft"] * (ref.mean(0) - stack.mean(0)))
        near = torch.tensor([kernel(f, row) for row in rows], dtype=torch.float64)
        wanted.append(torch.stack([h["alpha"] * (f @ pi[c]) + near @ weights[:, c] for c in range(classes)]))
    return torch.stack(wanted)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_logits_equal_a_naive_evaluation(labels):
    head = make_head(labels)
    torch.testing.assert_close(head(queries()), naive(head, labels, queries(), head.reference), atol=1e-6, rtol=1e-6)


def test_a_set_is_its_own_reference():
    labels = LABELS["unequal"]
    head = make_head(labels, TransductiveReHARKHead)
    wanted = naive(head, labels, queries(), queries())
    torch.testing.assert_close(head.transduce(3 * queries()), wanted, atol=1e-6, rtol=1e-6)
    one = queries()[:1]
    torch.testing.assert_close(head.transduce(one), head(one))  # one image has no deviation


def test_of_the_inductive_head_no_image_looks_at_others():
    head = make_head(LABELS["equal"])
    torch.testing.assert_close(head.transduce(queries())[:2], head(queries()[:2]))


def test_a_strong_ridge_leaves_the_prior_alone():
    head = make_head(LABELS["equal"], lmbda=1e12, soft=0.0, var_adj=0.0)
    prior = head.solve({name: head.hparams[name] for name in head.STAGE})[1]
    f = torch.stack([unit(u.sign() * u.abs() ** SETTING["power"]) for u in queries()])
    torch.testing.assert_close(head(queries()), SETTING["alpha"] * f @ prior.T, atol=1e-8, rtol=0)


def test_a_weak_ridge_says_the_label_of_a_support_row():
    head = make_head(LABELS["equal"], lmbda=1e-9, soft=0.0, var_adj=0.0, beta1=30.0, beta2=5.0)
    hot = torch.nn.functional.one_hot(head.labels).double()
    torch.testing.assert_close(head(head.rows), hot, atol=1e-4, rtol=0)


def test_a_ridge_of_zero_is_refused():
    with pytest.raises(ValueError, match="ridge must be positive"):
        make_head(LABELS["equal"], lmbda=0.0)(queries())


def test_the_search_takes_the_best_of_its_settings_and_depends_on_the_seed_alone():
    trainer, task = make_trainer("ReHARK"), make_task(4)
    trainer.device = task.device
    chosen = []
    for _ in range(2):
        trainer.head = trainer.build_head(task, trainer.node)
        trainer.validation, trainer.num_val = LabelledFeatures(task.support_features[1], task.support_labels), 20
        settings = list(trainer.settings())
        trainer.fit()
        chosen.append(dict(trainer.head.hparams))
        best = trainer.score(chosen[-1], trainer.validation)
        assert best == max(trainer.score(one, trainer.validation) for one in settings)
    assert chosen[0] == chosen[1]
    assert len(settings) == trainer.num_settings == trainer.node.TRIALS + 1
    assert all(0.001 <= one["lmbda"] <= 5.0001 and 1 <= one["alpha"] <= 20 for one in settings)


def test_without_sentences_the_templates_speak_twice():
    head, task = registered_head("ReHARK", 2)
    trainer = make_trainer("ReHARK")
    del task.prompts["cupl"]
    again = trainer.build_head(task, trainer.node)
    assert torch.equal(again.sentences, head.text)


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"search_rows": -1}, {"rows": "images"}])
def test_options_that_mean_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match="TRAINER.REHARK"):
        ReHARKOptions(**wrong)
