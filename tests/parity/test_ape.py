"""APE and APE-T against the authors' own code in float32."""

from __future__ import annotations

import pytest
import torch

from helpers.golden import Golden
from helpers.official import check_choice, one_image, train
from simnl.fewshot.search import Grid, axis, count_grid
from simnl.fewshot.selection import accuracy
from trainers.ape import APEHead, APETHead

ALL_SHOTS = [f"shared-{shots}" for shots in (1, 2, 4, 8, 16)]


@pytest.fixture(params=ALL_SHOTS)
def golden(request) -> Golden:
    return Golden(request.param)


def arguments(golden: Golden) -> dict:
    cfg = golden.meta["cfg"]["ape"]
    return {
        "text": golden.text("cupl"),
        "cache_keys": golden.inputs[f"cache_keys_K{golden.shots}"].T.contiguous(),
        "labels": golden.inputs[f"labels_K{golden.shots}"].long(),
        "logit_scale": 100.0,
        "beta": cfg["init_beta"],
        "alpha": cfg["init_alpha"],
    }


def official_grid(golden: Golden, *names: str) -> Grid:
    cfg = golden.meta["cfg"]["ape"]
    low = {"beta": 0.1, "alpha": 0.1, "gamma": 0.0}
    ends = dict(zip(low, zip(cfg["search_scale"], cfg["search_step"], strict=True), strict=True))
    return Grid({name: axis(low[name], *ends[name]) for name in names})


def check_counts(head, grid: Grid, features, labels, theirs: torch.Tensor) -> None:
    ours = count_grid(head, features, labels, grid) * 100 / len(labels)
    assert (ours - theirs).abs().max() <= one_image(labels)
    assert (ours - theirs).abs().gt(1e-3).float().mean() < 0.01  # one image off on at most 1 % of the points


def close_logits(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours.detach(), theirs, atol=1e-3, rtol=0)


def test_ape(golden):
    out, cfg = golden.outputs, golden.meta["cfg"]["ape"]
    if "ape/test_logits" not in out:
        pytest.skip(f"there is no official output of APE at {golden.shots} shots")
    val, y_val, test, y_test = (golden.inputs[k] for k in ("val", "y_val", "test", "y_test"))
    channels, weights = cfg["training_free_feat_num"], tuple(cfg["w_training_free"])
    head = APEHead(**arguments(golden), num_channels=channels, weights=weights, gamma=cfg["init_gamma"])
    torch.testing.assert_close(head.similarity, out["ape/sim_criterion"], atol=1e-6, rtol=0)
    close_logits(head(test), out["ape/init_test_logits"])
    grid = official_grid(golden, "beta", "alpha", "gamma")
    theirs = out["ape/grid_val_acc"]
    check_counts(head, grid, val, y_val, theirs)
    place = torch.unravel_index(theirs.flatten().argmax(), theirs.shape)  # the first maximum
    best = [values[i] for values, i in zip(grid.axes.values(), place, strict=True)]
    check_choice(head, grid, val, y_val, best, theirs.max().item())
    close_logits(head(test), out["ape/test_logits"])
    assert accuracy(head, test, y_test) == pytest.approx(out["ape/test_acc"].item(), abs=one_image(y_test))


def test_ape_t(golden):
    out, cfg = golden.outputs, golden.meta["cfg"]["ape"]
    val, y_val, test, y_test = (golden.inputs[k] for k in ("val", "y_val", "test", "y_test"))
    head = APETHead(**arguments(golden), num_channels=cfg["training_feat_num"], weights=tuple(cfg["w_training"]))
    torch.testing.assert_close(head.similarity, out["apet/sim_criterion"], atol=1e-6, rtol=0)

    def check_parameters(key: str) -> None:
        theirs = {"residual": out[f"{key}/res"], "value_weights": out[f"{key}/value_weights"][:, 0]}
        for name, tensor in theirs.items():
            torch.testing.assert_close(getattr(head, name).detach(), tensor, atol=1e-5, rtol=0)

    steps_per_epoch = len(out["apet/loss"]) // len(out["apet/val_acc"])
    scores, states = [], []
    for step, loss in train(golden, head, cfg["lr"], cfg["eps"], weight_decay=0.1):
        assert loss == pytest.approx(out["apet/loss"][step - 1].item(), abs=1e-5)
        if step == 1:
            for ours, theirs in (("residual", "res"), ("value_weights", "value_weights")):
                wanted = out[f"apet/grad_step1/{theirs}"].view_as(getattr(head, ours))
                torch.testing.assert_close(getattr(head, ours).grad, wanted, atol=1e-5, rtol=1e-3)
        if step == 5:
            check_parameters("apet/params_step5")
        if step % steps_per_epoch == 0:
            scores.append(accuracy(head, val, y_val))
            states.append({name: tensor.clone() for name, tensor in head.state_dict().items()})
    check_parameters("apet/params_last")
    assert (torch.tensor(scores) - out["apet/val_acc"]).abs().max() <= one_image(y_val)
    head.load_state_dict(states[int(out["apet/val_acc"].argmax())])
    grid, theirs = official_grid(golden, "beta", "alpha"), out["apet/grid_val_acc"]
    check_counts(head, grid, val, y_val, theirs)
    check_choice(head, grid, val, y_val, out["apet/grid_best"].tolist(), theirs.max().item())
    close_logits(head(test), out["apet/test_logits"])
    assert accuracy(head, test, y_test) == pytest.approx(out["apet/test_acc"].item(), abs=one_image(y_test))
