"""CCA and CCA-FT against the authors' own code in float32, at the unmixing matrix that they were given."""

from __future__ import annotations

import functools

import pytest
import torch

from dassl.optim import build_optimizer
from helpers.golden import REPO, official_cfg
from helpers.golden_next import NextGolden
from helpers.official import one_image
from simnl.fewshot.schedule import build_schedule
from simnl.fewshot.search import Grid, axis, count_grid
from simnl.fewshot.selection import accuracy
from trainers.cca import CCAFTHead, CCAHead, around, search_in_turn

BUNDLED = REPO / "tests" / "goldens" / "cca.safetensors"
SETTINGS = ["bundled-4", *(f"shared-{shots}" for shots in (1, 2, 4, 16))]
HPARAMS = {"beta": 1.0, "alpha": 1.17, "gamma": 0.01, "eta": 0.1}  # of all golden runs; and the grids
SHARPNESS = Grid({"beta": axis(0.1, 12, 20), "alpha": axis(0.1, 5, 10)})
MIXING = Grid({name: around(HPARAMS[name], 5.0, 100) for name in ("gamma", "eta")})


@pytest.fixture(scope="module", params=SETTINGS)
def golden(request) -> NextGolden:
    return NextGolden(request.param, "cca_K{shots}", BUNDLED)


def inputs(golden: NextGolden) -> dict:
    keys = {"text": golden.text("template"), "cache_keys": golden.cache_keys, "labels": golden.labels}
    return {**keys, "logit_scale": 100.0, "unmix": golden.inputs["unmix"], **HPARAMS}


def outputs(golden: NextGolden, key: str) -> dict[str, torch.Tensor]:
    return {name.split("/")[1]: t for name, t in golden.outputs.items() if name.startswith(f"{key}/")}


def searched(golden: NextGolden, head: CCAHead, out: dict, plain_first: bool) -> None:
    """Their search, where it was recorded; our head gets their choice."""
    if "best_beta_alpha_gamma_eta" not in out:
        return
    val, labels = golden.split("val")
    chosen, (first, second) = search_in_turn(
        functools.partial(count_grid, head, val, labels),
        HPARAMS,
        SHARPNESS,
        MIXING,
        ties="first",
        first_mixing={"gamma": 0.0, "eta": 0.0} if plain_first else {},
        factor=100.0,
    )
    if "val_acc_beta_alpha" in out:
        ours = 100 * first.view(20, 10) / len(labels)
        assert (ours - out["val_acc_beta_alpha"]).abs().max() <= one_image(labels)
        assert (second.view(100, 100) - out["val_count_gamma_eta"]).abs().max() <= 1
    best = dict(zip(HPARAMS, out["best_beta_alpha_gamma_eta"].tolist(), strict=True))
    assert chosen == pytest.approx(best)
    head.hparams.update(best)


def test_cca(golden):
    out, head = outputs(golden, "cca"), CCAHead(**inputs(golden))
    assert accuracy(head, *golden.split("val")) == pytest.approx(
        out["val_acc_init"].item(), abs=one_image(golden.split("val")[1])
    )
    searched(golden, head, out, plain_first=True)
    test, labels = golden.split("test")
    golden.check(head(test), "cca/test_logits", 1e-3)
    assert accuracy(head, test, labels) == pytest.approx(out["test_acc"].item(), abs=one_image(labels))


def test_cca_ft(golden):
    out, head = outputs(golden, "cca_ft"), CCAFTHead(**inputs(golden), l1=1e-5, classifier_rate=0.1)
    cfg = official_cfg("CCAFT").OPTIM
    groups = [{"params": p, "lr": cfg.LR * f, "eps": cfg.EPS} for f, p in head.parameter_groups()]
    optim = build_optimizer(groups, cfg)
    test, y_test = golden.split("test")
    views, order = golden.shot_views(), golden.inputs[f"order_next_K{golden.shots}"].long()
    epochs = order.split(len(golden.labels))[: len(out["test_acc_epochs"])]
    schedule = build_schedule(optim, cfg, -(-len(golden.labels) // 128))
    step, scores, states = 0, [], []
    for epoch in epochs:
        for part in epoch.split(128):
            losses = head.losses(views[part[:, 0], part[:, 1]], golden.labels[part[:, 1]])
            assert losses["ce"].item() == pytest.approx(out["ce"][step].item(), abs=1e-3)
            optim.zero_grad()
            sum(losses.values()).backward()
            if step == 0 and "adapter_grad0" in out:
                torch.testing.assert_close(head.adapter.grad, out["adapter_grad0"], atol=1e-5, rtol=1e-3)
                torch.testing.assert_close(head.classifier.grad, out["classifier_grad0"], atol=1e-5, rtol=1e-3)
            optim.step()
            schedule.step()
            step += 1
            if step == 5:
                check_parameters(head, out, "step5", 2e-5)
        scores.append(accuracy(head, test, y_test))
        states.append({name: tensor.clone() for name, tensor in head.state_dict().items()})
    assert step == len(out["ce"])
    check_parameters(head, out, "end", 2e-4)
    assert (torch.tensor(scores) - out["test_acc_epochs"]).abs().max() <= 2 * one_image(y_test)
    if "test_logits_last_epoch" in out:
        golden.check(head(test), "cca_ft/test_logits_last_epoch", 1e-2)
    head.load_state_dict(states[int(out["best_epoch"])])  # their choice, on the test images
    searched(golden, head, out, plain_first=False)
    golden.check(head(test), "cca_ft/test_logits_final", 1e-2)
    reported = max(max(scores), accuracy(head, test, y_test))
    assert reported == pytest.approx(out["returned_acc"].item(), abs=2 * one_image(y_test))


def check_parameters(head: CCAFTHead, out: dict, when: str, tolerance: float) -> None:
    for name, parameter in head.named_parameters():
        if f"{name}_{when}" in out:
            torch.testing.assert_close(parameter.detach(), out[f"{name}_{when}"], atol=tolerance, rtol=0)
