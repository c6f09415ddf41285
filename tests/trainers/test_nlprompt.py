"""NLPrompt: its loss and its transport against recorded outputs and by property; the order of an epoch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from helpers.detection_golden import golden
from helpers.methods import make_head, make_trainer
from simnl.fewshot.losses import generalised_cross_entropy
from trainers.nlprompt import DividedLoader, right_labels, transport


def test_parity_with_the_authors_loss():
    tensors = golden("noise")
    labels = torch.tensor(tensors["nlprompt/noisy"])
    for scale in ("s10.0", "s100.0"):
        for q in (0.7, 1.0):
            logits = torch.tensor(tensors[f"nlprompt/{scale}/logits"]).requires_grad_()
            loss = generalised_cross_entropy(logits, labels, q)
            (grad,) = torch.autograd.grad(loss, logits)
            assert loss.item() == pytest.approx(float(tensors[f"nlprompt/{scale}/gce{q}/loss"]), rel=2e-6)
            wanted = torch.tensor(tensors[f"nlprompt/{scale}/gce{q}/grad"])
            torch.testing.assert_close(grad, wanted, atol=1e-7, rtol=2e-5)


def test_the_loss_is_a_naive_one_and_tends_to_cross_entropy():
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    for q in (1.0, 0.5):
        naive = 0.0
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
            p = math.exp(row[label]) / sum(map(math.exp, row)) + 1e-6
            naive += (1 - p**q) / q / 6
        assert generalised_cross_entropy(logits, labels, q).item() == pytest.approx(naive, abs=1e-12)
    near = generalised_cross_entropy(logits, labels, 1e-6).item()
    assert near == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), abs=1e-4)


def test_parity_with_the_authors_transport():
    """Plans, pseudo-labels and masks; at the scripts' eps of 0.001 the plan is empty, which is kept where asked for."""
    tensors, compared = golden("noise"), 0
    labels = torch.tensor(tensors["nlprompt/noisy"])
    for name in [name for name in tensors if name.startswith("nlprompt/") and name.endswith("/coupling")]:
        _, scale, setting, _ = name.split("/")
        _, mode, reg, budget = setting.split("_")
        p = torch.tensor(tensors[f"nlprompt/{scale}/logits"]).softmax(1)
        scores = {"logP": p.log_softmax(1), "out": p, "softmax": p.softmax(1)}[mode]
        share = float(budget[6:])
        plan = transport(scores, float(reg[3:]), share, shifted=False)
        np.testing.assert_allclose(plan.numpy(), tensors[name], atol=2e-6)
        wanted = torch.tensor(tensors[f"nlprompt/{scale}/{setting}/clean"]).bool()
        if share == 1.0:
            assert torch.equal(right_labels(plan, labels), wanted)
        else:  # many rows are equally sure but for rounding, so theirs need only be among the surest
            least = plan.amax(1).sort(descending=True).values[int(share * len(labels)) - 1]
            assert (plan.amax(1)[wanted] >= least - 1e-9).all()
            assert right_labels(plan, labels, share).sum() <= int(share * len(labels))
        if reg == "reg0.001":
            assert not plan.any()
            assert set(labels[wanted].tolist()) <= {0}
            mended = transport(scores, 0.001, share)
            assert mended.isfinite().all()
            assert mended.any()
        else:
            assert torch.equal(plan.argmax(1), torch.tensor(tensors[f"nlprompt/{scale}/{setting}/pseudo"]))
            mended = transport(scores, float(reg[3:]), share)
            if share == 1.0:
                np.testing.assert_allclose(mended.numpy(), plan.numpy(), atol=1e-4)  # both stop before the limit
        compared += 1
    assert compared == 16


def test_a_plan_has_the_sums_that_it_is_asked_for():
    scores = torch.randn(40, 5, generator=torch.Generator().manual_seed(1)).softmax(1).log_softmax(1)
    plan = transport(scores, 0.01)
    torch.testing.assert_close(plan.sum(1), torch.full((40,), 1 / 40, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(plan.sum(0), torch.full((5,), 1 / 5, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("drop_last", [False, True])
def test_an_epoch_reads_right_labels_first_and_each_image_once(drop_last):
    labels = torch.arange(20) % 4
    loader = DividedLoader(torch.arange(40.0).view(2, 20, 1), labels, 3, 1, drop_last)
    assert len(loader.seen()) == (18 if drop_last else 20)
    loader.right, loader.epoch = torch.arange(20) % 3 > 0, 3  # 13 and 7 images
    batches = list(loader)
    assert len(batches) == len(loader) == (4 + 2 if drop_last else 5 + 3)
    assert [batch["right"] for batch in batches] == sorted((batch["right"] for batch in batches), reverse=True)
    assert all((loader.right[batch["index"]] == batch["right"]).all() for batch in batches)
    rows = torch.cat([batch["index"] for batch in batches])
    assert len(rows.unique()) == len(rows) == (18 if drop_last else 20)
    assert torch.equal(torch.cat([batch["img"] for batch in batches])[:, 0], 20.0 + rows)  # view 3 mod 2
    loader.right = torch.zeros(20, dtype=torch.bool)
    assert not any(batch["right"] for batch in loader)


def test_each_part_has_its_loss():
    head, task = make_head("NLPrompt", 2)
    features, labels = task.support_features[0], task.support_labels
    plain = torch.nn.functional.cross_entropy(head(features), labels)
    assert torch.equal(head.losses(features, labels, right=True)["ce"], plain)
    wrong = head.losses(features, labels, right=False)
    assert wrong["gce"].item() == pytest.approx(generalised_cross_entropy(head(features), labels).item())
    with pytest.raises(ValueError, match=r"NLPROMPT\.GCE_Q is 0"):
        type(head)(0.0, prompts=head.prompts, context=head.context, logit_scale=1.0, chunk=0)


def test_the_division_before_an_epoch_is_that_of_the_head():
    """Clustered features whose labels are partly swapped: a head that knows the classes finds the swaps."""
    trainer = make_trainer("NLPrompt")
    true = torch.arange(4).repeat_interleave(8)
    given = true.clone()
    given[::8] = (given[::8] + 1) % 4
    views = torch.nn.functional.one_hot(true, 4).float().expand(2, -1, -1)
    trainer.train_loader_x = DividedLoader(views, given, 8, 1, False)
    trainer.head, trainer.epoch = lambda x: 10 * x, 1
    trainer.before_epoch()
    assert torch.equal(trainer.train_loader_x.right, given == true)
