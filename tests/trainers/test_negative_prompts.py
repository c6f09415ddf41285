"""Prompts that learn what is unknown (LoCoOp, LSN, NegPrompt) on the bundled text tower, written out in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.methods import make_trainer
from helpers.text_by_hand import text_by_hand
from simnl.clip.prompt_learning import LearnedPrompts
from simnl.fewshot.prompt_head import initial_context
from trainers.locoop import LoCoOpHead
from trainers.lsn import LSNHead
from trainers.neg_prompt import NegPromptHead

NAMES = ("cat", "grand piano", "lemur")
SCALE, LABELS = 20.0, torch.tensor([0, 2, 1, 1])


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inputs(tower, context) -> dict:
    prompts = LearnedPrompts(tower, NAMES, len(context))
    return {"prompts": prompts, "context": context, "logit_scale": SCALE, "chunk": 0}


def unit(rows):
    return rows.double() / rows.double().norm(dim=-1, keepdim=True)


def close(ours, theirs):
    torch.testing.assert_close(ours.double(), theirs, atol=3e-4, rtol=1e-4)


def same_slope(loss, parameter, theirs, start):
    """The gradient of our loss is that of theirs, which is a function of the parameter."""
    at = start.detach().clone().requires_grad_()
    expected = torch.autograd.grad(theirs(at), at)[0]
    found = torch.autograd.grad(loss, parameter)[0]
    assert (found - expected).norm() <= 2e-3 * expected.norm()
    assert expected.norm() > 0


def texts(clip, tower, context):
    return torch.stack([text_by_hand(clip, tower, context, name) for name in NAMES])


def test_locoop(clip, tower):
    context = initial_context(tower, "", 3, seed=1) * 20
    width = clip.embed_dim
    rows = randn(4, 3 * width)  # two patches
    head = LoCoOpHead(weight=0.25, most_likely=1, **inputs(tower, context))

    def naive(v):
        t, ce, terms = texts(clip, tower, v), 0.0, []
        for row, y in zip(rows, LABELS, strict=True):
            f, *patches = unit(row.unflatten(0, (3, width)))
            ce = ce - (SCALE * t @ f).log_softmax(0)[y] / 4
            for g in patches:
                p = (SCALE * t @ g).softmax(0)
                if p.argmax() != y:
                    terms.append((p * (p + 1e-5).log()).sum())
        assert 0 < len(terms) < 8
        return ce, 0.25 * torch.stack(terms).mean()

    losses = head.losses(rows, LABELS)
    for ours, theirs in zip(losses.values(), naive(context), strict=True):
        close(ours, theirs)
    same_slope(sum(losses.values()), head.context, lambda v: sum(naive(v)), context)
    head.most_likely = 3  # all classes: no patch is selected
    assert head.losses(rows, LABELS)["patches"] == 0
    torch.testing.assert_close(head.deployed()(rows), head(rows))


def test_lsn(clip, tower):
    context, negatives = initial_context(tower, "", 3, seed=1) * 20, 0.4 * randn(2, 3, 3, tower.width, seed=2)
    x = randn(4, clip.embed_dim)
    head = LSNHead(negatives=negatives, weight=0.3, factor=2.0, twice=False, **inputs(tower, context))

    def naive(u):
        f = unit(x)
        t = texts(clip, tower, context)
        q = [torch.stack([text_by_hand(clip, tower, w, n) for w, n in zip(s, NAMES, strict=True)]) for s in u]
        denied = [F.cross_entropy(20 * (1 - f @ rows.T), LABELS) for rows in q]
        alike = sum(a @ b for a, b in zip(*q, strict=True)) / 3 / 2
        best = [(f @ t.T).softmax(1).amax(1), *(((1 - f @ rows.T) / 5).softmax(1).amax(1) for rows in q)]
        return F.cross_entropy(SCALE * f @ t.T, LABELS), sum(denied), 0.3 * alike, best[0] + (best[1] + best[2]) / 2

    losses, expected = head.losses(x, LABELS), naive(negatives)
    for ours, theirs in zip(losses.values(), expected, strict=False):
        close(ours, theirs)
    close(head.own_scores(x)["lsn"], expected[3])
    same_slope(sum(losses.values()), head.negatives, lambda u: sum(naive(u)[1:3]), negatives)


@pytest.mark.parametrize("kind", ["MSP", "OE", "Fence", "Fence-released"])
def test_neg_prompt(clip, tower, kind):
    context, negatives = initial_context(tower, "", 3, seed=1) * 20, 0.2 * randn(2, 3, tower.width, seed=2)
    x = randn(4, clip.embed_dim)
    head = NegPromptHead(negatives=negatives, kind=kind, apart=0.1, spread=0.05, **inputs(tower, context))
    first = head.losses(x, LABELS)
    assert list(first) == ["ce"]
    assert torch.autograd.grad(first["ce"], head.negatives, allow_unused=True)[0] is None
    head.second_stage = True

    def naive(u):
        f = unit(x)
        e = torch.stack([texts(clip, tower, v) for v in (context, context + u[0], context + u[1])], 1)
        logits = SCALE * torch.einsum("bd,ckd->bck", f, e)
        target = F.one_hot(LABELS, 3).double()[..., None].expand(-1, -1, 3)
        msp = -(target * logits.sigmoid().log() + (1 - target) * (-logits).sigmoid().log()).mean()
        flat = logits.flatten(1)
        oe = (flat.exp().sum(1).log() - flat.mean(1)).mean()
        away = torch.stack([1 - e[c, 0] @ e[c, k] for c in range(3) for k in (1, 2)]).mean()
        spread = sum(((e[c, 1] + e[c, 2]) / 2).norm() - 1 for c in range(3)) / 3
        if kind.startswith("Fence"):
            terms = []
            for row, y in list(zip(logits, LABELS, strict=True))[kind == "Fence-released" :]:
                total = row.exp().sum()
                terms += [(row[y, k].exp() / total - 0.5 / 4).abs() for k in range(3)]
            return -sum(terms) / len(terms), torch.zeros((), dtype=torch.float64), 0.05 * spread
        return (oe, 0.1 * away, 0.05 * spread) if kind == "OE" else (msp, -0.1 * away, 0.05 * spread)

    losses = head.losses(x, LABELS)
    for ours, theirs in zip(losses.values(), naive(negatives), strict=True):
        close(ours, theirs)
    assert torch.autograd.grad(sum(losses.values()), head.context, allow_unused=True, retain_graph=True)[0] is None
    same_slope(sum(losses.values()), head.negatives, lambda u: sum(naive(u)), negatives)
    p = torch.einsum("bd,ckd->bck", unit(x), unit(head.all_texts())).flatten(1).softmax(1).unflatten(1, (3, 3))
    found = head.own_scores(x)
    for i, row in enumerate(p):
        own = int(row[:, 0].argmax())
        assert found["nega"][i].item() == pytest.approx(-row[:, 1:].max().item(), abs=1e-5)
        assert found["posi_nega"][i].item() == pytest.approx((row[own, 0] - row[own, 1:].max()).item(), abs=1e-5)


def test_stages_follow_each_other():
    trainer = make_trainer("NegPrompt")
    assert trainer.first_epochs == trainer.cfg.OPTIM.MAX_EPOCH // 2
    trainer.train_loader_x = type("Loader", (), {"__len__": lambda self: 5})()
    optim = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=trainer.cfg.OPTIM.LR)
    schedule = trainer.build_schedule(optim)
    rates = []
    for _ in range(trainer.cfg.OPTIM.MAX_EPOCH):
        rates.append(optim.param_groups[0]["lr"])
        optim.step()
        schedule.step()
    half = len(rates) // 2
    assert rates[:half] == pytest.approx(rates[half:])
    assert rates[0] == trainer.cfg.OPTIM.LR > rates[half - 1]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [("LOSS", "Hedge", "MSP, OE, Fence"), ("STAGE1", 1.5, "0 to 1"), ("NEGATIVES", 0, "at least one")],
)
def test_values_that_cannot_be_are_told(key, value, message):
    trainer = make_trainer("NegPrompt")
    cfg = trainer.cfg.clone()
    cfg.defrost()
    cfg.TRAINER.NEGPROMPT[key] = value
    with pytest.raises(ValueError, match=f"TRAINER.NEGPROMPT.{key} is .*{message}"):
        trainer.check_cfg(cfg)
