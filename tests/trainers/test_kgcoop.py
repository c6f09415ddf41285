"""KgCoOp against its formulas on the bundled model's text tower, written out in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.text_by_hand import text_by_hand
from simnl.clip.prompt_learning import LearnedPrompts, context_from_words
from simnl.fewshot.prompt_head import PromptHead, initial_context
from trainers.kgcoop import KgCoOpHead

NAMES = ("cat", "grand piano", "lemur")
SCALE = 20.0


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(tower, context, anchors, weight=8.0):
    prompts = LearnedPrompts(tower, NAMES, len(context))
    return KgCoOpHead(anchors=anchors, weight=weight, prompts=prompts, context=context, logit_scale=SCALE, chunk=0)


def test_logits_losses_and_gradient_equal_a_tower_written_out(clip, tower):
    context, labels = initial_context(tower, "", 3, seed=1) * 20, torch.tensor([0, 2, 1, 1])
    x, anchors = randn(4, clip.embed_dim), F.normalize(randn(3, clip.embed_dim, seed=1), dim=-1)
    head = make(tower, context, anchors)
    learned = context.double().requires_grad_()
    text = torch.stack([text_by_hand(clip, tower, learned, name) for name in NAMES])
    logits = torch.stack([SCALE * (text @ (f / f.norm())) for f in x.double()])
    torch.testing.assert_close(head(x).double(), logits, atol=2e-4, rtol=1e-4)
    losses = head.losses(x, labels)
    ce = -sum(row.log_softmax(0)[y] for row, y in zip(logits, labels, strict=True)) / 4
    kg = 1 - sum(t @ u for t, u in zip(text, anchors.double(), strict=True)) / 3
    torch.testing.assert_close(losses["ce"].double(), ce, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(losses["kg"].double(), 8 * kg, atol=1e-4, rtol=1e-4)
    (wanted,) = torch.autograd.grad(ce + 8 * kg, learned)
    (found,) = torch.autograd.grad(sum(losses.values()), head.context)
    torch.testing.assert_close(found.double(), wanted, atol=1e-4, rtol=1e-3)


def test_without_the_pull_it_is_coop(clip, tower):
    context, x, labels = initial_context(tower, "", 3, seed=1), randn(5, clip.embed_dim), torch.tensor([0, 1, 2, 0, 1])
    head = make(tower, context, F.normalize(randn(3, clip.embed_dim), dim=-1), weight=0.0)
    coop = PromptHead(LearnedPrompts(tower, NAMES, 3), context, SCALE, 0)
    for _ in range(2):
        for each in (head, coop):
            loss = sum(each.losses(x, labels).values())
            (gradient,) = torch.autograd.grad(loss, each.context)
            with torch.no_grad():
                each.context.sub_(0.1 * gradient)
    torch.testing.assert_close(head.context, coop.context)


def test_the_pull_starts_at_nothing_where_the_template_is_the_initial_words(clip, tower):
    context = context_from_words(tower, "a photo of a")
    anchors = F.normalize(clip.text_rows(clip.tokenize([f"a photo of a {name}." for name in NAMES])), dim=-1)
    head = make(tower, context, anchors, weight=1.0)
    pull = head.losses(randn(1, clip.embed_dim), torch.tensor([0]))["kg"]
    assert pull.item() == pytest.approx(0, abs=1e-5)
    (gradient,) = torch.autograd.grad(pull, head.context)
    assert gradient.norm() < 1e-4


def test_a_strong_pull_leads_to_the_frozen_text(clip, tower):
    context = initial_context(tower, "", 4, seed=1) * 20
    anchors = F.normalize(clip.text_rows(clip.tokenize([f"a photo of a {name}." for name in NAMES])), dim=-1)
    head = make(tower, context, anchors, weight=1.0)
    optim, start = torch.optim.Adam(head.parameters(), lr=0.02), None
    for _ in range(30):
        loss = head.losses(randn(1, clip.embed_dim), torch.tensor([0]))["kg"]
        start = start or loss.item()
        optim.zero_grad()
        loss.backward()
        optim.step()
    assert loss.item() < 0.5 * start
