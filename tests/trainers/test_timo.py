"""TIMO and TIMO-S against an evaluation in float64, written out from the formulas."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from helpers.cache_heads import LABELS, queries, support
from helpers.methods import make_task, make_trainer
from simnl.fewshot.discriminant import Moments, discriminant, gda_classifier
from simnl.fewshot.loaders import LabelledFeatures
from trainers.timo import TIMOS, TIMOHead, guided_text, prompt_match, pseudo_images

GAMMA, ALPHA = 20.0, 3.0


def prompts(classes: int = 4, number: int = 3, width: int = 6) -> torch.Tensor:
    g = torch.Generator().manual_seed(5)
    return F.normalize(torch.randn(classes, number, width, generator=g).double(), dim=-1)


def views(labels: list[int]) -> torch.Tensor:
    keys = support(labels)["cache_keys"]
    return F.normalize(keys + 0.3 * torch.randn(2, *keys.shape, generator=torch.Generator().manual_seed(6)), dim=-1)


def make_head(labels: list[int], beta: float = 3.0, alpha: float = ALPHA) -> TIMOHead:
    given = support(labels)
    return TIMOHead(
        prompts=prompts(),
        views=views(labels),
        cache_keys=given["cache_keys"],
        labels=given["labels"],
        gammas=[GAMMA],
        betas=[1.0, 3.0, 5.0, 6.0],
        gamma=GAMMA,
        beta=beta,
        alpha=alpha,
    )


@pytest.mark.parametrize("beta", [1, 3, 5, 6])
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_logits_equal_a_naive_evaluation(labels, beta):
    e, keys, x = prompts(), support(labels)["cache_keys"], views(labels)
    texts, rows = [], [[] for _ in range(4)]
    for c in range(4):
        mine = [keys[n] for n, y in enumerate(labels) if y == c]
        mean = sum(mine) / len(mine) if mine else e[c].mean(0)
        match = [float(e[c, p] @ mean / mean.norm()) for p in range(3)]
        length = math.sqrt(sum(a * a for a in match))
        shares = [math.exp(GAMMA * a / length) for a in match]
        text = sum(share / sum(shares) * e[c, p] for p, share in enumerate(shares))
        texts.append(text / text.norm())
        best = sorted(range(3), key=lambda p: -match[p])
        rows[c] = [match[p] * e[c, p] for p in (best + best)[:beta]]
    for view in x:
        for n, y in enumerate(labels):
            rows[y].append(view[n])
    means = [sum(group) / len(group) for group in rows]
    scatter = sum(torch.outer(r - m, r - m) for group, m in zip(rows, means, strict=True) for r in group)
    total = sum(map(len, rows))
    inverse = 6 * torch.linalg.inv(scatter + scatter.trace() / (total - 1) * torch.eye(6, dtype=torch.float64))
    wanted = torch.zeros(5, 4, dtype=torch.float64)
    for b, query in enumerate(queries()):
        f = query / query.norm()
        for c in range(4):
            gda = f @ inverse @ means[c] - math.log(4) - means[c] @ inverse @ means[c] / 2
            wanted[b, c] = ALPHA * (f @ texts[c]) + gda
    torch.testing.assert_close(make_head(labels, beta)(queries()), wanted, atol=1e-8, rtol=1e-9)


def test_it_is_gda_on_more_rows():
    labels = LABELS["equal"]
    given, x = support(labels), views(labels)
    match = prompt_match(prompts(), given["cache_keys"], given["labels"])
    rows, owners = pseudo_images(prompts(), match, 3)
    both = torch.cat([rows, x.flatten(0, 1)]), torch.cat([owners, given["labels"].repeat(2)])
    weights, biases = gda_classifier(*both, 4)
    head = make_head(labels)
    torch.testing.assert_close(head.weights[1], weights)
    torch.testing.assert_close(head.biases[1], biases)


def test_moments_of_parts_are_those_of_the_whole():
    x, labels = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2] * 3)
    parts = Moments.of(x[:5], labels[:5], 3).plus(Moments.of(x[5:], labels[5:], 3))
    for ours, whole in zip(discriminant(parts), discriminant(Moments.of(x, labels, 3)), strict=True):
        torch.testing.assert_close(ours, whole)


def test_gamma_goes_from_the_mean_prompt_to_the_best_one():
    e = prompts()
    match = torch.tensor([[0.1, 0.3, 0.2]] * 4).double()
    torch.testing.assert_close(guided_text(e, match, 0.0), F.normalize(e.mean(1), dim=-1))
    torch.testing.assert_close(guided_text(e, match, 1e5), e[:, 1])


def test_beyond_the_number_of_prompts_the_best_come_again():
    e, match = prompts(), torch.tensor([[0.1, 0.3, 0.2]] * 4).double()
    rows, labels = pseudo_images(e, match, 4)
    expected = torch.stack([0.3 * e[0, 1], 0.2 * e[0, 2], 0.1 * e[0, 0], 0.3 * e[0, 1]])
    torch.testing.assert_close(rows[:4], expected)
    assert labels.tolist() == [c for c in range(4) for _ in range(4)]


def test_a_large_alpha_leaves_the_text_alone():
    head = make_head(LABELS["equal"], alpha=1e7)
    f = F.normalize(queries(), dim=-1)
    assert torch.equal(head(queries()).argmax(1), (f @ head.text[0].T).argmax(1))


@pytest.mark.parametrize(
    ("number", "steps", "expected"), [(9, 10, [1, 2, 4, 6, 8, 10, 12, 14, 16, 18]), (1, 10, [1, 2]), (2, 2, [1, 4])]
)
def test_numbers_of_pseudo_images(number, steps, expected):
    assert TIMOS.betas(TIMOS, SimpleNamespace(BETAS=steps), number) == expected


def test_every_class_has_as_many_prompts_as_the_one_with_the_fewest():
    task = make_task(2)
    features = task.prompts["cupl"]
    object.__setattr__(features, "features", features.features[:-1])  # a sentence of the last class less
    object.__setattr__(features, "classes", features.classes[:-1])
    rows = task.text_rows("template", "cupl")
    assert rows.shape[:2] == (5, 3)
    torch.testing.assert_close(rows[1, 0], F.normalize(task.prompts["template"].features[1], dim=-1))
    torch.testing.assert_close(rows[1, 2], F.normalize(features.features[1], dim=-1))


def test_timo_s_takes_the_gamma_that_is_best_for_the_text_alone():
    trainer, task = make_trainer("TIMOS"), make_task(4)
    trainer.head = trainer.build_head(task, trainer.node)
    trainer.validation, trainer.num_val = LabelledFeatures(task.support_features[1], task.support_labels), 20
    f = F.normalize(trainer.validation.features, dim=-1)
    right = [((f @ text.T).argmax(1) == task.support_labels).sum().item() for text in trainer.head.text]
    trainer.fit()
    chosen = trainer.head.hparams["gamma"]
    assert right[trainer.head.gammas.index(chosen)] == max(right)
    assert trainer.search_space(trainer.node).axes["gamma"] == [chosen]


def test_no_number_of_pseudo_images_is_refused():
    with pytest.raises(ValueError, match="BETAS is 0"):
        TIMOS.betas(TIMOS, SimpleNamespace(BETAS=0), 3)
