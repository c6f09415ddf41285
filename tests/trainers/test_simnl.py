"""SimNL's formulas against naive loops in float64, written from the paper's and the code's description."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.simnl_head import make_head
from simnl.fewshot.cache import class_negative_keys, class_sum, instance_weights, shots_if_equal, slot_negative_keys
from simnl.fewshot.losses import consistency_loss
from trainers.simnl import SimNLOptions


def unit_rows(rows: int, width: int = 6, seed: int = 0) -> torch.Tensor:
    return F.normalize(
        torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1
    )


@pytest.mark.parametrize("options", [{}, {"negative_keys": "slot"}, {"reweight_negative": False, "tau": 0.1}])
def test_logits_equal_a_naive_evaluation(options):
    head, o = make_head(**options), SimNLOptions(**options)
    x = torch.randn(4, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    beta, alpha, lam = head.hparams["beta"], head.hparams["alpha"], head.hparams["lam"]
    with torch.no_grad():
        logits = head(x)
    shots, labels = 3, torch.arange(5).repeat_interleave(3)
    (template, cupl), negative, keys = frozen_texts(head), head.negative_text, head.positive_cache
    w = naive_weights(keys.keys, labels, o.tau)
    for b in range(4):
        f = x[b] / x[b].norm()
        for c in range(5):
            t = template[c] + head.positive_text.template.residual[c]
            u = cupl[c] + head.positive_text.cupl.residual[c]
            v = negative.text[c] + negative.residual[c]
            m = 0.45 * t / t.norm() + 0.55 * u / u.norm()
            r = 10 * f @ m
            q = 0.15 * 10 * (1 - f @ v / v.norm())
            p = n = 0.0
            for k in range(shots):
                row = c * shots + k
                key = keys.keys[row] + keys.residual[c]
                p += w[row] * math.exp(-beta * (1 - f @ key / key.norm()))
                others = [j * shots + k for j in range(5) if j != c]
                if o.negative_keys == "class":
                    others = [j for j in range(15) if labels[j] != c]
                mean = sum(keys.keys[j] for j in others) / len(others)
                anti = mean / mean.norm() + head.negative_cache.residual[c]
                weight = w[row] if o.reweight_negative else 1.0
                n += weight * math.exp(-beta * (1 - (1 - f @ anti / anti.norm())))
            assert logits[b, c].item() == pytest.approx((lam * (r + alpha * p) + (1 - lam) * (q + alpha * n)).item())


def test_sides_make_up_the_logits():
    head, x = make_head(), unit_rows(7, 8).double()
    sides, h = head.sides(x), head.hparams
    together = h["lam"] * sides["positive"] + (1 - h["lam"]) * sides["negative"]
    torch.testing.assert_close(together, head(x))
    terms = head.stage(head.terms(x), beta=h["beta"])
    torch.testing.assert_close(sides["positive"] - terms["R"], h["alpha"] * sides["cache"])
    torch.testing.assert_close(sides["negative"] - terms["Q"], h["alpha"] * sides["negative_cache"])
    text = head.positive_text()
    torch.testing.assert_close(sides["asserted"], terms["R"] / head.logit_scale / text.norm(dim=-1))
    torch.testing.assert_close(1 - sides["denied"], terms["Q"] / head.negative_text.scale)


def frozen_texts(head):
    return head.positive_text.template.text, head.positive_text.cupl.text


def naive_weights(keys, labels, tau):
    weights = [0.0] * len(keys)
    for c in set(labels.tolist()):
        rows = [i for i in range(len(keys)) if labels[i] == c]
        if len(rows) == 1:
            weights[rows[0]] = 1.0
            continue
        scores = {i: sum((keys[i] @ keys[j]).item() for j in rows if j != i) / (len(rows) - 1) for i in rows}
        total = sum(math.exp(s / tau) for s in scores.values())
        for i in rows:
            weights[i] = len(rows) * math.exp(scores[i] / tau) / total
    return weights


@pytest.mark.parametrize("tau", [0.05, 1.0])
def test_instance_weights_with_groups_of_any_size(tau):
    labels = torch.tensor([2, 0, 0, 1, 0, 2, 4])  # one row of 1 and 4, none of 3, unsorted
    keys = unit_rows(7)
    weights = instance_weights(keys, labels, 5, tau)
    assert weights.tolist() == pytest.approx(naive_weights(keys, labels, tau))
    assert class_sum(weights, labels, 5, None).tolist() == pytest.approx([3, 1, 2, 0, 1])


def test_a_useless_instance_gets_less_weight():
    good = F.normalize(torch.tensor([[1, 0.1], [1, -0.1], [1, 0.0], [-1, 1.0]], dtype=torch.float64), dim=-1)
    weights = instance_weights(good, torch.zeros(4, dtype=torch.int64), 1, 0.1)
    assert weights.argmin() == 3
    assert weights.sum().item() == pytest.approx(4)


def test_instance_weights_refuse_a_bad_temperature():
    with pytest.raises(ValueError, match="tau"):
        instance_weights(unit_rows(2), torch.tensor([0, 0]), 1, 0.0)


def test_slot_negative_keys_equal_the_mean_over_the_other_classes():
    keys, classes, shots = unit_rows(12), 4, 3
    negative = slot_negative_keys(keys, classes, shots)
    for c in range(classes):
        for k in range(shots):
            mean = torch.stack([keys[j * shots + k] for j in range(classes) if j != c]).mean(0)
            torch.testing.assert_close(negative[c * shots + k], mean / mean.norm(), atol=1e-12, rtol=0)


def test_class_negative_keys_work_for_unequal_classes_and_equal_slots_at_one_shot():
    labels = torch.tensor([0, 0, 1, 2, 2, 2])
    keys = unit_rows(6)
    negative = class_negative_keys(keys, labels, 3)
    for c in range(3):
        mean = keys[labels != c].mean(0)
        torch.testing.assert_close(negative[c], mean / mean.norm(), atol=1e-12, rtol=0)
    one = unit_rows(4)
    torch.testing.assert_close(class_negative_keys(one, torch.arange(4), 4), slot_negative_keys(one, 4, 1))


def test_blocks_are_recognised_only_if_sorted_and_equal():
    assert shots_if_equal(torch.tensor([0, 0, 1, 1]), 2) == 2
    assert shots_if_equal(torch.tensor([0, 1, 0, 1]), 2) is None
    assert shots_if_equal(torch.tensor([0, 0, 1]), 2) is None
    assert shots_if_equal(torch.tensor([0, 0, 1, 1]), 3) is None


def test_unequal_classes_train_and_noisy_labels_are_grouped_by_label():
    full = make_head()
    text, negative, keys = full.positive_text.template.text, full.negative_text.text, full.positive_cache.keys
    labels = torch.tensor([0, 0, 1, 2, 2, 2, 3, 4])
    head = type(full)(
        template=text, cupl=None, negative=negative, cache_keys=keys[: len(labels)], labels=labels,
        classes=labels, logit_scale=10.0, num_shots=3, options=SimNLOptions(), beta=2.0, alpha=1.0, lam=0.75,
    ).double()  # fmt: skip
    losses = head.losses(torch.randn(6, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4, 0]))
    sum(losses.values()).backward()
    assert {name for name, _ in head.named_parameters()} == {
        "positive_text.template.residual",
        "positive_cache.residual",
        "negative_text.residual",
        "negative_cache.residual",
    }
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in head.parameters())
    with pytest.raises(ValueError, match="NEGATIVE_KEYS"):
        type(full)(
            template=text, cupl=None, negative=negative, cache_keys=keys[: len(labels)],
            labels=labels, classes=labels, logit_scale=10.0, num_shots=3, options=SimNLOptions(negative_keys="slot"),
            beta=2.0, alpha=1.0, lam=0.75,
        )  # fmt: skip


def test_limits_of_the_hyper_parameters():
    """Beta = 0 makes both caches K everywhere; alpha = 0 leaves text; lambda = 1 the positive branch."""
    head = make_head()
    x = torch.randn(3, 8, dtype=torch.float64)
    with torch.no_grad():
        stage = head.stage(head.terms(x), beta=0.0)
        torch.testing.assert_close(stage["P"], torch.full_like(stage["P"], 3.0))
        torch.testing.assert_close(stage["N"], torch.full_like(stage["N"], 3.0))
        head.hparams = {"beta": 2.0, "alpha": 0.0, "lam": 0.75}
        torch.testing.assert_close(head(x), 0.75 * stage["R"] + 0.25 * stage["Q"])
        stage = head.stage(head.terms(x), beta=2.0)
        head.hparams = {"beta": 2.0, "alpha": 1.3, "lam": 1.0}
        torch.testing.assert_close(head(x), stage["R"] + 1.3 * stage["P"])


def naive_losses(head, x, labels, axis):
    text, f = head.positive_text(), F.normalize(x, dim=-1)
    frozen = frozen_texts(head)
    hinge = []
    for b in range(len(x)):
        distances = [(f[b] - text[j]).norm() for j in range(len(text))]
        near = sorted(range(len(text)), key=lambda j: distances[j].item())[:3]
        y = labels[b]
        hinge += [F.relu(distances[y] + (1 - text[j] @ text[y]) / 4 - distances[j]) for j in near]
    cosines = []
    for i in range(text.shape[1 - axis]):
        row = text[i] if axis == 1 else text[:, i]
        template, cupl = (t[i] if axis == 1 else t[:, i] for t in frozen)
        cosines.append(
            0.45 * (1 - row @ template / row.norm() / template.norm())
            + 0.55 * (1 - row @ cupl / row.norm() / cupl.norm())
        )
    ce = sum(-head(x)[b].log_softmax(0)[labels[b]] for b in range(len(x))) / len(x)
    return {"ce": ce, "rerank": sum(hinge) / len(hinge), "consistency": 8 * sum(cosines) / len(cosines)}


@pytest.mark.parametrize(("name", "axis"), [("class", 1), ("channel", 0)])
def test_losses_and_gradients_equal_a_naive_evaluation(name, axis):
    head = make_head(consistency_axis=name)
    x = torch.randn(7, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 4, 0, 1])
    ours, naive = head.losses(x, labels), naive_losses(head, x, labels, axis)
    for key, value in naive.items():
        torch.testing.assert_close(ours[key], value, atol=1e-9, rtol=1e-9)
        wanted = torch.autograd.grad(value, list(head.parameters()), allow_unused=True, retain_graph=True)
        got = torch.autograd.grad(ours[key], list(head.parameters()), allow_unused=True, retain_graph=True)
        for g, w in zip(got, wanted, strict=True):
            assert (g is None) == (w is None)
            if g is not None:
                torch.testing.assert_close(g, w, atol=1e-9, rtol=1e-7)


def test_consistency_ignores_scale_along_its_own_axis_only():
    """A sharp test that the axis is the intended one."""
    scale = torch.rand(8, dtype=torch.float64) + 0.5
    for name, invariant, other in (
        ("channel", scale, torch.rand(5, 1) + 0.5),
        ("class", torch.rand(5, 1) + 0.5, scale),
    ):
        head = make_head(consistency_axis=name)
        mixture, text = head.positive_text, head.positive_text()
        reference, *moved = (
            consistency_loss(m, mixture.anchors, mixture.axis) for m in (text, text * invariant, text * other)
        )
        torch.testing.assert_close(moved[0], reference)
        assert (moved[1] - reference).abs() > 1e-6


def test_negative_learning_risk():
    head = make_head(negative_loss="eq18")
    x, labels = torch.randn(3, 8, dtype=torch.float64), torch.tensor([1, 4, 0])
    p = (10 * F.normalize(x, dim=-1) @ head.negative_text().T).softmax(-1)
    risk = sum(-math.log(1 - p[b, labels[b]].item()) for b in range(3)) / 3
    assert head.losses(x, labels)["negative"].item() == pytest.approx(risk)
    assert "negative" not in make_head().losses(x, labels)


def test_unknown_options_are_refused_by_name():
    with pytest.raises(ValueError, match=r"TRAINER\.SIMNL\.NEGATIVE_KEYS is 'slots'. Choose one of class, slot\."):
        SimNLOptions(negative_keys="slots")
    with pytest.raises(ValueError, match=r"TRAINER\.SIMNL\.ADAPTERS is \['text'\]. Choose from .*-cache\."):
        SimNLOptions.of({"ADAPTERS": ["text"]})
    assert SimNLOptions.of({"ADAPTERS": ["negative-text"], "TAU": 0.5, "BETA": 2.0}) == SimNLOptions(
        adapters=["negative-text"], tau=0.5
    )


def test_parameter_count_and_groups():
    """5 C D; the negative branch learns five times as fast."""
    head = make_head()
    assert sum(p.numel() for p in head.parameters()) == 5 * 5 * 8
    (one, positive), (five, negative) = head.parameter_groups()
    assert (one, five) == (1.0, 5.0)
    assert {id(p) for p in negative} == {id(head.negative_text.residual), id(head.negative_cache.residual)}
    assert len(positive) == 3
    assert set(head.state_dict()) == {n for n, _ in head.named_parameters()}


def test_half_precision_adamw_behaves_as_described():
    """First steps of half AdamW, lr 1e-4, eps 1e-3; weight decay is inert."""
    for grad, step in ((1e-3, -1.0e-4), (5e-3, -5.0e-4), (1e-2, -8.4e-5)):
        p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float16))
        p.grad = torch.full_like(p, grad)
        torch.optim.AdamW([p], lr=1e-4, eps=1e-3, weight_decay=0.1).step()
        assert p.item() == pytest.approx(step, rel=0.08)
    one = torch.nn.Parameter(torch.ones(1, dtype=torch.float16))
    one.grad = torch.zeros_like(one)
    torch.optim.AdamW([one], lr=1e-4, eps=1e-3, weight_decay=0.1).step()
    assert one.item() == 1.0
