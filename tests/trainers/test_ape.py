"""APE and APE-T against naive loops in float64."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from test_tip_adapter import LABELS, queries, support

from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from trainers.ape import APE, APEHead, APETHead, inter_class_similarity, select_channels
from trainers.tip_adapter import TipAdapterHead

WEIGHTS = (0.3, 0.7)


def naive_similarity(vectors, owners):
    """The quadruple loop: classes i != j, samples m of i and n of j."""
    total, pairs = torch.zeros(vectors.shape[1], dtype=torch.float64), 0
    classes = sorted(set(owners.tolist()))
    for i in classes:
        for j in classes:
            if i == j:
                continue
            for m in (owners == i).nonzero()[:, 0]:
                for n in (owners == j).nonzero()[:, 0]:
                    total += vectors[m] * vectors[n]
                    pairs += 1
    return total / pairs


def naive_channels(text, vectors, owners, number):
    similarity = naive_similarity(vectors, owners)
    scores = []
    for d in range(text.shape[1]):
        mean = sum(text[:, d]) / len(text)
        variance = sum((v - mean) ** 2 for v in text[:, d]) / (len(text) - 1)
        scores.append((-WEIGHTS[0] * similarity[d] + WEIGHTS[1] * variance).item())
    return sorted(sorted(range(len(scores)), key=lambda d: -scores[d])[:number])


def stacked(text, keys, labels):
    return torch.cat([text, keys]), torch.cat([torch.arange(len(text)), labels])


@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2, 3, 3], [3, 0, 0, 1, 3, 3]], ids=["equal", "unequal"])
def test_criterion_equals_the_quadruple_loop(labels):
    given = support(labels, width=8)
    vectors, owners = stacked(given["text"], given["cache_keys"], given["labels"])
    wanted = naive_similarity(vectors, owners)
    torch.testing.assert_close(inter_class_similarity(vectors, owners, 4), wanted, atol=1e-14, rtol=0)


def test_criterion_is_the_authors_closed_form_for_equal_classes():
    given = support(LABELS["equal"])
    vectors, owners = stacked(given["text"], given["cache_keys"], given["labels"])
    sums = given["text"] + given["cache_keys"].view(4, 2, -1).sum(1)
    wanted = (sums.sum(0) ** 2 - (sums**2).sum(0)) / (4 * 3 * 3**2)
    torch.testing.assert_close(inter_class_similarity(vectors, owners, 4), wanted)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_ape_equals_a_naive_evaluation(labels):
    given = support(labels)
    text, keys = given["text"], given["cache_keys"]
    head = APEHead(**given, num_channels=4, weights=WEIGHTS, beta=2.5, alpha=1.7, gamma=0.6)
    chosen = naive_channels(text, *stacked(text, keys, given["labels"]), 4)
    assert sorted(head.channels.tolist()) == chosen

    def refine(v):
        return v[chosen] / v[chosen].norm()

    weights = []
    for n, label in enumerate(labels):
        logits = [(refine(keys[n]) @ refine(text[c])).item() for c in range(4)]
        p = math.exp(logits[label]) / sum(map(math.exp, logits))
        weights.append(math.exp(0.6 * math.log2((1 + 1e-6) / (p + 1e-6))))
    wanted = torch.zeros(5, 4, dtype=torch.float64)
    for b, x in enumerate(queries()):
        f = x / x.norm()
        for c in range(4):
            wanted[b, c] = 10 * (f @ text[c])
        for n, label in enumerate(labels):
            wanted[b, label] += 1.7 * weights[n] * math.exp(-2.5 * (1 - refine(f) @ refine(keys[n])))
    torch.testing.assert_close(head(queries()), wanted, atol=1e-10, rtol=0)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_ape_t_logits_loss_and_gradient_equal_a_naive_evaluation(labels):
    given, target = support(labels), torch.tensor([0, 3, 1, 2, 2])
    text, keys = given["text"], given["cache_keys"]
    head = APETHead(**given, num_channels=4, weights=WEIGHTS, beta=2.5, alpha=1.7)
    assert sorted(head.channels.tolist()) == naive_channels(text, text, torch.arange(4), 4)
    with torch.no_grad():
        g = torch.Generator().manual_seed(2)
        head.residual.add_(0.3 * torch.randn(4, 4, generator=g))
        head.value_weights.add_(0.3 * torch.randn(len(labels), generator=g))
    residual, values = (p.detach().clone().requires_grad_() for p in (head.residual, head.value_weights))
    full = torch.stack([torch.zeros(6, dtype=torch.float64).index_add(0, head.channels, r) for r in residual])
    rows = []
    for x in queries():
        f = x / x.norm()
        logits = [10 * (f @ (text[c] + full[c])) for c in range(4)]
        for n, label in enumerate(labels):
            weight = values[n] * torch.exp(-2.5 * (1 - f @ (keys[n] + full[label])))
            logits[label] = logits[label] + 1.7 * weight
        rows.append(torch.stack(logits))
    torch.testing.assert_close(head(queries()), torch.stack(rows), atol=1e-12, rtol=0)
    wanted = -sum(row.log_softmax(0)[y] for row, y in zip(rows, target, strict=True)) / 5
    losses = head.losses(queries(), target)
    assert set(losses) == {"ce"}
    assert losses["ce"].item() == pytest.approx(wanted.item(), abs=1e-12)
    losses["ce"].backward()
    wanted.backward()
    torch.testing.assert_close(head.residual.grad, residual.grad, atol=1e-12, rtol=0)
    torch.testing.assert_close(head.value_weights.grad, values.grad, atol=1e-12, rtol=0)


def test_both_equal_tip_adapter_at_the_start():
    """APE with gamma = 0 and all channels; APE-T before its first step, with any channels."""
    given = support(LABELS["equal"])
    tip = TipAdapterHead(**given, learn_keys=False, beta=2.5, alpha=1.7)(queries())
    ape = APEHead(**given, num_channels=6, weights=WEIGHTS, beta=2.5, alpha=1.7, gamma=0.0)
    torch.testing.assert_close(ape(queries()), tip, atol=1e-12, rtol=0)
    ape_t = APETHead(**given, num_channels=3, weights=WEIGHTS, beta=2.5, alpha=1.7)
    torch.testing.assert_close(ape_t(queries()).detach(), tip, atol=1e-12, rtol=0)


def test_what_is_learned():
    """C Q + C K numbers: 516,000 for ImageNet at 16 shots and 500 channels."""
    given = support(LABELS["equal"])
    head = APETHead(**given, num_channels=3, weights=WEIGHTS, beta=1.0, alpha=1.0)
    assert {name: tuple(p.shape) for name, p in head.state_dict().items()} == {
        "residual": (4, 3),
        "value_weights": (8,),
    }
    assert sum(p.numel() for _, group in head.parameter_groups() for p in group) == 4 * 3 + 4 * 2
    assert 1000 * 500 + 1000 * 16 == 516_000
    ape = APEHead(**given, num_channels=3, weights=WEIGHTS, beta=1.0, alpha=1.0, gamma=0.1)
    assert dict(ape.state_dict()) == {}


@pytest.mark.parametrize("number", [0, 7])
def test_a_number_of_channels_out_of_range_is_refused(number):
    with pytest.raises(ValueError, match="CHANNELS"):
        select_channels(torch.zeros(6), torch.randn(4, 6), WEIGHTS, number)


@pytest.mark.parametrize(
    ("dataset", "shape", "last_gamma"), [("dtd", (200, 20, 20), 0.95), ("imagenet", (200, 20, 5), 0.4)]
)
def test_the_search_is_the_authors(dataset, shape, last_gamma):
    files = [CONFIGS / "datasets" / f"{dataset}.yaml", CONFIGS / "trainers" / "APE.yaml"]
    grid = APE.search_space(None, assemble(files, settings={"TRAINER.NAME": "APE"}).TRAINER.APE)
    assert list(grid.axes) == ["beta", "alpha", "gamma"]
    assert grid.shape == shape
    assert (grid.axes["beta"][0], grid.axes["alpha"][0], grid.axes["gamma"][0]) == (0.1, 0.1, 0.0)
    assert grid.axes["gamma"][-1] == pytest.approx(last_gamma)


def test_head_in_single_precision_stays_so():
    given = {k: v.float() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in support([0, 1]).items()}
    head = APETHead(**given, num_channels=3, weights=WEIGHTS, beta=1.0, alpha=1.0)
    assert head(F.normalize(queries().float(), dim=-1)).dtype is torch.float32
