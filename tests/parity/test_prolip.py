"""ProLIP against the authors' own code in float32."""

from __future__ import annotations

import pytest
import torch

from dassl.optim import build_optimizer
from helpers.golden import REPO, official_cfg
from helpers.golden_next import NextGolden
from helpers.official import one_image
from simnl.fewshot.schedule import build_schedule
from simnl.fewshot.selection import accuracy
from trainers.prolip import ProLIPHead

BUNDLED = REPO / "tests" / "goldens" / "prolip.safetensors"
RUNS = {  # name: (learning rate, lambda by K, tolerance of the last parameters)
    "prolip_vit_lr1e-3_1overK": (1e-3, lambda shots: 1 / shots, 5e-5),
    "prolip_rn_lr1e-3_1overK": (1e-3, lambda shots: 1 / shots, 5e-5),
    "prolip_vit_lr1e-2_1overK2": (1e-2, lambda shots: 1 / shots**2, 5e-4),
    "prolip_vit_lr1e-4_0": (1e-4, lambda shots: 0.0, 5e-5),
}


def hidden_views(golden: NextGolden) -> torch.Tensor:
    """Hidden features of the K-shot images, (V, N, H)."""
    key = f"pre_shots_K{golden.shots}"
    if key in golden.inputs:  # the bundled part has no others
        return golden.inputs[key]
    full, classes = golden.meta["spec"]["K"], golden.meta["spec"]["C"]
    rows = (torch.arange(classes)[:, None] * full + torch.arange(golden.shots)).reshape(-1)
    return golden.inputs["pre_shots_K16"][:, rows]


def make(golden: NextGolden, has_bias: bool, penalty: float) -> ProLIPHead:
    weight, bias = golden.inputs["proj"], golden.inputs["proj_bias"]
    bias = bias if has_bias else torch.zeros_like(bias)
    return ProLIPHead(golden.text("template"), weight, bias, 100.0, penalty)


def steps(golden: NextGolden, head: ProLIPHead, lr: float, epochs: int):
    """The preset's training, on view e + 1 in step e as theirs; yields the step's number and its cross-entropy."""
    cfg = official_cfg("ProLIP", LR=lr, MAX_EPOCH=epochs).OPTIM
    groups = [{"params": list(head.parameters()), "lr": lr, "eps": cfg.EPS}]
    optim = build_optimizer(groups, cfg)
    schedule, views = build_schedule(optim, cfg, 1), hidden_views(golden)
    for epoch in range(epochs):
        losses = head.losses(views[(epoch + 1) % len(views)], golden.labels)
        optim.zero_grad()
        sum(losses.values()).backward()
        optim.step()
        schedule.step()
        yield epoch + 1, losses["ce"].item()


BUNDLED_RUNS = [("bundled-4", name) for name in list(RUNS)[:2]]
SHARED_RUNS = [(f"shared-{shots}", name) for shots in (1, 2, 4, 16) for name in RUNS]


@pytest.mark.parametrize(("setting", "name"), BUNDLED_RUNS + SHARED_RUNS)
def test_training_and_test(setting, name):
    golden = NextGolden(setting, "prolip_K{shots}", BUNDLED)
    out = {k.split("/")[1]: v for k, v in golden.outputs.items() if k.startswith(f"{name}/")}
    lr, penalty, tolerance = RUNS[name]
    head = make(golden, "_rn_" in name, penalty(golden.shots))

    def check(ours: torch.Tensor, key: str, atol: float) -> None:
        if key in out:
            theirs = out[key].T if "_rn_" in name else out[key]  # they keep a linear layer's weight, (D, H)
            torch.testing.assert_close(ours.detach(), theirs, atol=atol, rtol=0)

    for step, ce in steps(golden, head, lr, len(out["ce"])):
        assert ce == pytest.approx(out["ce"][step - 1].item(), abs=1e-3)
        check(head.projection.grad, f"grad{step - 1}", 1e-5)
        check(head.projection, f"step{step}", 2e-5)
    check(head.projection, "end", tolerance)
    features = golden.inputs["pre_test"]  # of the bundled part, the first ones
    if "test_logits" in out:
        torch.testing.assert_close(head(features).detach(), out["test_logits"], atol=3e-3, rtol=0)
    if "test_acc" in out:
        labels = golden.split("test")[1]
        assert accuracy(head, features, labels) == pytest.approx(out["test_acc"].item(), abs=one_image(labels))


@pytest.mark.parametrize("setting", ["shared-1", "shared-4"])
def test_the_sweep(setting):
    """Theirs, with 60 steps to a training, on the few-shot validation images; the same winner, and its end."""
    golden = NextGolden(setting, "prolip_K{shots}")
    out = {k.split("/")[1]: v for k, v in golden.outputs.items() if k.startswith("prolip_search/")}
    rows = golden.inputs[f"val_idx_K{golden.shots}"].long()
    features, labels = golden.inputs["pre_val"][rows], golden.split("val")[1][rows]
    sweep = dict(official_cfg("ProLIP").SWEEP)
    best, ends = (0.0, (0, 0)), {}
    for i, lr in enumerate(sweep["OPTIM.LR"]):
        for j, lam in enumerate(sweep["TRAINER.PROLIP.LAM"]):
            head = make(golden, False, lam)
            for _ in steps(golden, head, lr, 60):
                pass
            score, ends[i, j] = accuracy(head, features, labels), head.projection.detach()
            assert score == pytest.approx(out["search_val_acc"][i, j].item(), abs=one_image(labels))
            best = max(best, (score, (i, j)), key=lambda pair: pair[0])
    i, j = best[1]
    winner = sweep["OPTIM.LR"][i], sweep["TRAINER.PROLIP.LAM"][j]
    assert winner == pytest.approx((out["best_lr"].item(), out["best_lambda"].item()))
    torch.testing.assert_close(ends[i, j], out["end"], atol=5e-4, rtol=0)
