"""ProGrad against its formulas on the bundled model's text tower."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.text_by_hand import text_by_hand
from simnl.clip.prompt_learning import LearnedPrompts, context_from_words
from simnl.config_names import known
from simnl.fewshot.prompt_head import initial_context
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from trainers.prograd import ProGradHead, padded_context, without_conflict

NAMES = ("cat", "grand piano", "lemur")
SCALE = 20.0


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(tower, context, teacher, share=1.0, temperature=1.0, chunk=0):
    prompts = LearnedPrompts(tower, NAMES, len(context))
    return ProGradHead(
        teacher=teacher,
        share=share,
        temperature=temperature,
        prompts=prompts,
        context=context,
        logit_scale=SCALE,
        chunk=chunk,
    )


@pytest.fixture
def task(clip, tower):
    """Context, features, labels, teacher."""
    context = initial_context(tower, "", 3, seed=1) * 10
    teacher = F.normalize(randn(3, clip.embed_dim, seed=2), dim=-1)
    return context, randn(4, clip.embed_dim), torch.tensor([0, 2, 1, 1]), teacher


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_both_losses_and_gradients_equal_a_tower_written_out(clip, tower, task, temperature):
    context, x, labels, teacher = task
    learned = context.double().requires_grad_()
    text = torch.stack([text_by_hand(clip, tower, learned, name) for name in NAMES])
    ce = kl = 0.0
    for f, y in zip(x.double(), labels, strict=True):
        f = f / f.norm()
        student, target = SCALE * text @ f, SCALE * teacher.double() @ f
        ce -= student.log_softmax(0)[y] / 4
        p = (target / temperature).softmax(0)
        kl -= temperature**2 * (p * (student / temperature).log_softmax(0)).sum() / 4
    head = make(tower, context, teacher, temperature=temperature)
    ours = head.terms(x, labels)
    torch.testing.assert_close(torch.stack(ours).double(), torch.stack([ce, kl]), atol=2e-4, rtol=1e-4)
    for found, loss in zip(gradients(head, x, labels), (ce, kl), strict=True):
        (wanted,) = torch.autograd.grad(loss, learned, retain_graph=True)
        torch.testing.assert_close(found.double(), wanted, atol=1e-4, rtol=1e-3)


def gradients(head, x, labels):
    ce, kl = head.terms(x, labels)
    return [torch.autograd.grad(loss, head.context, retain_graph=True)[0] for loss in (ce, kl)]


@pytest.mark.parametrize("chunk", [0, 2])
def test_the_step_has_no_part_against_the_teacher(tower, task, chunk):
    context, x, labels, teacher = task
    seen = set()
    for seed in range(6):
        head = make(tower, context, F.normalize(randn(*teacher.shape, seed=seed), dim=-1), chunk=chunk)
        a, b = gradients(head, x, labels)
        losses = head.losses(x, labels)
        (step,) = torch.autograd.grad(sum(losses.values()), head.context)
        dot = sum(float(p) * float(q) for p, q in zip(a.flatten(), b.flatten(), strict=True))
        share = dot / float((b.double() ** 2).sum()) if dot < 0 else 0.0
        torch.testing.assert_close(step.double(), a.double() - share * b.double(), atol=1e-5, rtol=1e-4)
        assert losses["ce"].item() == pytest.approx(head.terms(x, labels)[0].item())
        if dot < 0:
            assert abs((step * b).sum()) < 1e-4 * step.norm() * b.norm()
        seen.add(dot < 0)
    assert seen == {True, False}  # both cases were there


def test_a_share_of_zero_is_coop(tower, task):
    context, x, labels, teacher = task
    for seed in range(6):
        head = make(tower, context, F.normalize(randn(*teacher.shape, seed=seed), dim=-1), share=0.0)
        (step,) = torch.autograd.grad(head.losses(x, labels)["ce"], head.context)
        torch.testing.assert_close(step, gradients(head, x, labels)[0])


def test_a_teacher_without_a_gradient_changes_nothing():
    gradient = randn(3, 4)
    assert torch.equal(without_conflict(gradient, torch.zeros(3, 4), 1.0), gradient)


def test_without_gradients_the_loss_is_cross_entropy(tower, task):
    context, x, labels, teacher = task
    head = make(tower, context, teacher)
    with torch.no_grad():
        torch.testing.assert_close(head.losses(x, labels)["ce"], F.cross_entropy(head(x), labels))


@pytest.mark.parametrize(
    ("words", "count", "tail"),
    [("a photo of a", 4, ""), ("a type of pet, a photo of a", 8, "a"), ("a type of food, a photo of", 7, "of")],
)
def test_the_authors_start(tower, words, count, tail):
    context, left = padded_context(tower, words, 16)
    assert context.shape == (16, tower.width)
    assert not context[:-count].any()
    assert torch.equal(context[-count:], context_from_words(tower, words)[:count])
    assert left == tail  # the comma is a token, too: the last word has no place


@pytest.mark.parametrize(("words", "number"), [("a photo of a", 3), ("ultracrepidarian zzyzx", 16)])
def test_words_that_do_not_fit_are_refused(tower, words, number):
    with pytest.raises(ValueError, match="TRAINER.PROGRAD.CTX_INIT"):
        padded_context(tower, words, number)


@pytest.mark.parametrize("dataset", [name for name in known("datasets") if name != "imagefolder"])
def test_official_words_are_those_of_the_template(dataset):
    files = [CONFIGS / "datasets" / f"{dataset}.yaml", CONFIGS / "trainers" / "ProGrad.yaml"]
    cfg = assemble(files, [], {"TRAINER.NAME": "ProGrad", "PRESET": "official", "DATASET.CONFIG": dataset})
    assert [f"{cfg.TRAINER.PROGRAD.CTX_INIT} {{}}."] == cfg.PROMPTS.POSITIVE
