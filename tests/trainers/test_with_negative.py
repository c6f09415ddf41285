"""The negative branch, and a cache of confident negatives, on top of other methods."""

from __future__ import annotations

import math

import pytest
import torch

from dassl.engine import TRAINER_REGISTRY
from helpers.brute_force import counts_of
from helpers.methods import METHODS, make_task
from simnl.fewshot.head import SearchableHead
from simnl.fewshot.search import Grid, count_grid
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from trainers.with_negative import ConfidentNegatives, WithNegative

NODE = "TRAINER.WITHNEGATIVE"
BASES = [m for m in METHODS if not WithNegative.suits(TRAINER_REGISTRY.get(m))]


def make_trainer(base: str, *options: str):
    files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "dtd.yaml"]
    files.append(CONFIGS / "trainers" / "WithNegative.yaml")
    cfg = assemble(files, [f"{NODE}.BASE", base, *options], {"TRAINER.NAME": "WithNegative", "SEED": 1})
    kind = WithNegative.of(cfg)
    trainer = kind.__new__(kind)
    trainer.cfg = cfg
    return trainer


def made(base: str, shots: int = 3, *options: str):
    trainer = make_trainer(base, *options)
    task = make_task(shots)
    return trainer.build_head(task, trainer.node), task, trainer


def test_it_stands_on_every_method_whose_logits_it_can_have():
    assert {"CoCoOp", "CLIPAdapter", "TipAdapter", "TaskRes", "CoOp", "KgCoOp", "LinearProbe", "NLPrompt"} <= {*BASES}
    for base in ("CLIPLoRA", "TDA", "TransCLIP", "WithNegative", "SimNL", "TIMOS", "ProLIP", "LoCoOp"):
        with pytest.raises(
            ValueError, match=rf"WITHNEGATIVE.BASE is '{base}', which does not suit: .* Choose one of .*CoCoOp"
        ):
            make_trainer(base)


@pytest.mark.parametrize("base", BASES)
def test_the_base_learns_as_if_it_stood_alone(base):
    """Logits are the base's plus the branch; the base's gradients are those of the base alone."""
    head, task, trainer = made(base)
    alone = TRAINER_REGISTRY.get(base).build_head(trainer, task, trainer.node)
    features, labels = task.support_features[1], task.support_labels
    branch = head.branch(features)
    torch.testing.assert_close(head(features), alone(features) + branch)
    torch.testing.assert_close(sum(head.evidence(features).values()), head(features), atol=1e-4, rtol=1e-4)
    learned = [name for name, p in alone.named_parameters() if p.requires_grad]
    assert trainer.training_free == (not learned)
    assert "negative" in trainer.prompt_sets_of(trainer.node)
    if not learned:
        assert not any(p.requires_grad for p in head.parameters())
        return
    sum(head.losses(features, labels).values()).backward()
    sum(alone.losses(features, labels).values()).backward()
    own, whole = dict(alone.named_parameters()), dict(head.named_parameters())
    for name in learned:
        if own[name].grad is not None:
            torch.testing.assert_close(whole[f"carrier.{name}"].grad, own[name].grad)
    assert whole["branch.text.residual"].grad.abs().sum() > 0
    groups = head.parameter_groups()
    assert {id(p) for _, group in groups for p in group} == {id(p) for p in head.parameters() if p.requires_grad}
    assert groups[-1][0] == 5.0


def test_a_search_counts_the_branch_in():
    head, task, _ = made("TipAdapterF")
    assert isinstance(head, SearchableHead)
    features, labels = task.support_features[1], task.support_labels
    grid = Grid({"beta": [0.5, 4.0], "alpha": [0.1, 2.0, 5.0]})
    assert torch.equal(count_grid(head, features, labels, grid), counts_of(head, features, labels, grid))


def test_a_search_has_chunks_of_the_size_that_the_base_asks_for():
    head, _, _ = made("ProKeR")
    assert head.search_rows == head.carrier.search_rows == len(head.carrier.cache_keys) > 1


def test_hooks_of_the_base_see_its_head_and_the_whole_comes_back():
    head, _, trainer = made("CLIPAdapter")
    trainer.head = head
    with trainer.as_base():
        assert trainer.head is head.carrier
    assert trainer.head is head


# ---------------------------------------------------------------------- test time


def test_the_cache_is_a_naive_one():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(30, 6, generator=generator, dtype=torch.float64)
    logits = 3 * torch.randn(30, 4, generator=generator, dtype=torch.float64)
    found = ConfidentNegatives(2, 1.5, 3.0)(features, logits)
    p, unit = logits.softmax(1).tolist(), features / features.norm(dim=1, keepdim=True)
    entropy = [-sum(x * math.log(x) for x in row) for row in p]
    second = [sorted(range(4), key=lambda c, row=row: -row[c])[1] for row in p]
    wanted = logits.clone()
    for c in range(4):
        kept = sorted((m for m in range(30) if second[m] == c), key=lambda m: entropy[m])[:2]
        for m in range(30):
            wanted[m, c] -= 1.5 * sum(math.exp(-3 * (1 - (unit[m] @ unit[k]).item())) for k in kept)
    torch.testing.assert_close(found, wanted)


def test_it_is_transductive_by_declaration_and_the_order_means_nothing():
    head, task, trainer = made("CLIPAdapter", 3, f"{NODE}.TEST_TIME.ENABLED", "True")
    assert trainer.inference_of(trainer.node) == "transductive"
    features = task.support_features[1]
    with torch.no_grad():
        alone, logits = head(features), head.transduce(features)
        turned = head.transduce(features.flip(0)).flip(0)
    assert not torch.allclose(alone, logits)
    torch.testing.assert_close(turned, logits)
    plain, _, other = made("CLIPAdapter")
    assert other.inference_of(other.node) == "inductive"
    assert plain.transduction is None


def test_the_cache_without_the_branch_and_wrong_values():
    options = (f"{NODE}.NEGATIVE.ENABLED", "False", f"{NODE}.TEST_TIME.ENABLED", "True")
    head, task, trainer = made("ZeroshotCLIP", 3, *options)
    assert not hasattr(head, "branch")
    assert "negative" not in trainer.prompt_sets_of(trainer.node)
    assert not trainer.uses_support
    for capacity, alpha in ((0, 1.0), (3, 0.0)):
        with pytest.raises(ValueError, match=r"WITHNEGATIVE\.TEST_TIME needs"):
            ConfidentNegatives(capacity, alpha, 1.0)


def test_a_wrong_value_of_the_base_is_told_by_its_own_key():
    trainer = make_trainer("NegPrompt", "TRAINER.NEGPROMPT.STAGE1", "2.0")
    with pytest.raises(ValueError, match=r"^TRAINER.NEGPROMPT.STAGE1 is 2.0, but it is a share"):
        trainer.check_cfg(trainer.cfg)
