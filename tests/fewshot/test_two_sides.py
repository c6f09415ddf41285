"""The two ways of ours to put SimNL's sides together, against naive loops in float64."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

from helpers.brute_force import counts_of
from helpers.simnl_head import make_head
from simnl.fewshot.cache import instance_weights
from simnl.fewshot.search import Grid, count_grid
from simnl.fewshot.two_sides import fisher, margins, routed, set_weight_by_support, sides_left_out, weight_by_support

CLASSES, WIDTH = 5, 8


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(rows: torch.Tensor) -> torch.Tensor:
    return rows / rows.norm(dim=-1, keepdim=True)


def stage() -> dict[str, torch.Tensor]:
    return {name: random(6, CLASSES, seed=i) for i, name in enumerate("RPQN")}


def test_routing_is_a_naive_evaluation():
    given, alpha = stage(), 0.7
    for count in (1, 2, 3):
        found = routed(given, count, alpha)
        for b in range(6):
            side = [(given["R"][b, c] + alpha * given["P"][b, c]).item() for c in range(CLASSES)]
            near = sorted(range(CLASSES), key=lambda c: -side[c])[:count]
            for name in "QN":
                least = min(given[name][b, c].item() for c in near)
                wanted = [given[name][b, c].item() if c in near else least for c in range(CLASSES)]
                assert found[name][b].tolist() == wanted
        assert found["R"] is given["R"]
        assert found["P"] is given["P"]


@pytest.mark.parametrize("count", [0, CLASSES, CLASSES + 3])
def test_all_classes_routed_is_the_method_itself(count):
    given = stage()
    assert routed(given, count, 1.0) is given
    x = random(4, WIDTH)
    plain, other = make_head(CLASSES, 3, WIDTH), make_head(CLASSES, 3, WIDTH, routed=count)
    assert torch.equal(plain(x), other(x))


def test_a_constant_on_the_negative_side_changes_no_prediction():
    given = stage()
    moved = {**given, "Q": given["Q"] + 5.0, "N": given["N"] + 3.0}
    for name, constant in (("Q", 5.0), ("N", 3.0)):
        torch.testing.assert_close(routed(moved, 2, 1.0)[name], routed(given, 2, 1.0)[name] + constant)


def test_a_routed_head_trains_and_is_searched_as_it_predicts():
    head, x, y = make_head(CLASSES, 3, WIDTH, routed=2), random(30, WIDTH, seed=4), torch.arange(30) % CLASSES
    assert not torch.equal(head(x), make_head(CLASSES, 3, WIDTH)(x))
    torch.testing.assert_close(sum(head.evidence(x).values()), head(x))
    sum(head.losses(x, y).values()).backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())
    grid = Grid({"beta": [0.5, 2.0], "alpha": [0.0, 1.0, 3.0], "lam": [0.3, 0.8]})
    assert torch.equal(count_grid(head, x, y, grid), counts_of(head, x, y, grid))


def test_a_negative_number_of_classes_is_refused():
    with pytest.raises(ValueError, match=r"SIMNL\.ROUTED is -1"):
        make_head(routed=-1)


# ---------------------------------------------------------------------- fusion


def test_fishers_criterion_and_margins_are_naive_ones():
    logits, labels = random(12, 3), torch.arange(12) % 3
    found = margins(logits, labels)
    for i in range(12):
        others = [logits[i, c].item() for c in range(3) if c != labels[i]]
        assert found[i].item() == pytest.approx(logits[i, labels[i]].item() - max(others))
    means = [found[labels == c].mean().item() for c in range(3)]
    centre = sum(means) / 3
    between = sum((m - centre) ** 2 for m in means) / 2
    within = sum(sum((v - means[c]) ** 2 for v in found[labels == c].tolist()) / 3 for c in range(3)) / 3
    assert fisher(found, labels, 3) == pytest.approx(between / within)


def test_scaling_a_side_changes_no_prediction():
    labels, a, b = torch.arange(12) % 3, random(12, 3), random(12, 3, seed=1)
    sides = [margins(side, labels) for side in (a, b)]
    lam = weight_by_support(*sides, labels, 3)
    assert 0 < lam < 1
    other = weight_by_support(7 * sides[0], sides[1], labels, 3)
    plain, scaled = lam * a + (1 - lam) * b, other * 7 * a + (1 - other) * b
    torch.testing.assert_close(scaled / scaled.norm(), plain / plain.norm())
    assert weight_by_support(sides[0][:3], sides[1][:3], labels[:3], 3) is None  # one image per class
    assert weight_by_support(0 * sides[0], 0 * sides[1], labels, 3) is None


@pytest.mark.parametrize("most", [2**24, 14])  # all images at once, and two
def test_each_image_is_left_out_of_its_own_evidence(most, monkeypatch):
    monkeypatch.setattr("simnl.fewshot.two_sides.NUMBERS", most)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2])
    keys, text, against = unit(random(7, WIDTH)), 9 * unit(random(3, WIDTH, seed=1)), 2 * unit(random(3, WIDTH, seed=2))
    tau, alpha, beta = 0.5, 1.3, 2.0
    blocks = list(sides_left_out(text, against, keys, labels, tau=tau, alpha=alpha, beta=beta))
    assert len(blocks) == (1 if most > 14 else 4)
    found = [torch.cat(side) for side in list(zip(*blocks, strict=True))[1:]]
    w = instance_weights(keys, labels, 3, tau)
    for i in range(7):
        for c in range(3):
            mine = [n for n in range(7) if labels[n] == c]
            rest = [n for n in mine if n != i]
            stretch = sum(w[n] for n in mine) / sum(w[n] for n in rest)
            cache = sum(w[n] * torch.exp(-beta * (1 - keys[i] @ keys[n])) for n in rest) * stretch
            torch.testing.assert_close(found[0][i, c], keys[i] @ text[c] + alpha * cache)
            q = unit(sum(keys[n] for n in range(7) if labels[n] != c and n != i))
            cache = sum(w[n] for n in mine) * torch.exp(-beta * (keys[i] @ q))
            wanted = against[c].norm() - keys[i] @ against[c] + alpha * cache
            torch.testing.assert_close(found[1][i, c], wanted)


def test_one_image_per_class_leaves_lambda_as_it_is(caplog):
    head = make_head(3, 1, WIDTH)
    task = SimpleNamespace(cache_keys=lambda: unit(random(3, WIDTH)), support_labels=torch.arange(3), num_classes=3)
    with caplog.at_level(logging.WARNING):
        set_weight_by_support(head, task)
    assert head.hparams["lam"] == 0.75
    assert "so it stays at 0.75" in caplog.text
    more = make_head(3, 4, WIDTH)
    labels = torch.arange(3).repeat_interleave(4)
    task = SimpleNamespace(cache_keys=lambda: unit(random(12, WIDTH)), support_labels=labels, num_classes=3)
    set_weight_by_support(more, task)
    assert 0 < more.hparams["lam"] < 1
    assert more.hparams["lam"] != 0.75
