"""RPL against its formulas in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.methods import make_head, make_task, make_trainer
from simnl.runs.config import assemble
from trainers.rpl import RPLHead


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(("is_unit", "divided"), [(True, False), (False, True)])
def test_logits_loss_and_gradient(is_unit, divided):
    x, points, labels, t = randn(5, 7), 0.3 * randn(3, 7, seed=1), torch.tensor([0, 2, 1, 1, 0]), 0.2
    head = RPLHead(points, 0.7, t, 0.1, unit=is_unit, divided=divided).double()
    p, r = points.clone().requires_grad_(), torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    total = 0.0
    for row, y in zip(x, labels, strict=True):
        row = row / row.norm() if is_unit else row
        d = torch.stack([((row - q) ** 2).sum() / (7 if divided else 1) for q in p])
        total = total + (torch.logsumexp(d / t, 0) - d[y] / t + 0.1 * (d[y] - r) ** 2) / 5
    losses = sum(head.losses(x, labels).values())
    torch.testing.assert_close(losses, total)
    ours, theirs = (torch.autograd.grad(*pair) for pair in ((losses, list(head.parameters())), (total, [p, r])))
    torch.testing.assert_close(ours, theirs)
    assert torch.equal(head(x).argmax(1), head.distances(x).argmax(1))  # the farthest point's class


def test_the_start_is_zero_shot_clip():
    head, task = make_head("RPL", 4)
    features = task.support_features[1]
    cosines = F.normalize(features, dim=-1) @ task.text_features("template").T
    torch.testing.assert_close(head(features), task.logit_scale * (1 + cosines), atol=1e-3, rtol=1e-4)
    d = head.distances(task.support_features[0]).gather(1, task.support_labels[:, None])
    torch.testing.assert_close(head.radius.detach(), d.detach().mean())


def test_official_starts_at_random():
    trainer, task = make_trainer("RPL"), make_task(2)
    cfg = trainer.cfg.clone()
    cfg.defrost()
    cfg.TRAINER.RPL.INIT = "random"
    head = trainer.build_head(task, cfg.TRAINER.RPL)
    assert head.points.std().item() == pytest.approx(0.1, rel=0.1)
    assert (head.radius.item(), head.unit, head.divisor) == (0.0, False, task.support_features.shape[-1])


def test_an_unknown_start_is_told():
    trainer = make_trainer("RPL")
    with pytest.raises(ValueError, match=r"TRAINER\.RPL\.INIT is 'texts'. Choose one of text, random"):
        trainer.check_cfg(assemble([], ["TRAINER.RPL.INIT", "texts"], {"TRAINER.NAME": "RPL"}))
