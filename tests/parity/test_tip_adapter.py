"""Tip-Adapter and Tip-Adapter-F against the authors' own code in float32, for every shot count."""

from __future__ import annotations

import pytest
import torch

from helpers.golden import Golden
from helpers.official import check_choice, one_image, train
from simnl.fewshot.search import Grid, axis
from simnl.fewshot.selection import accuracy
from trainers.tip_adapter import TipAdapterHead


@pytest.fixture(params=[f"shared-{shots}" for shots in (1, 2, 4, 8, 16)])
def golden(request) -> Golden:
    return Golden(request.param)


def official_head(golden: Golden, learn_keys: bool) -> TipAdapterHead:
    cfg = golden.meta["cfg"]["tip"]
    return TipAdapterHead(
        text=golden.text("template"),
        cache_keys=golden.inputs[f"cache_keys_K{golden.shots}"].T.contiguous(),
        labels=golden.inputs[f"labels_K{golden.shots}"].long(),
        logit_scale=100.0,
        learn_keys=learn_keys,
        beta=cfg["init_beta"],
        alpha=cfg["init_alpha"],
    )


def official_grid(golden: Golden) -> Grid:
    cfg = golden.meta["cfg"]["tip"]
    (beta, alpha), (beta_steps, alpha_steps) = cfg["search_scale"], cfg["search_step"]
    return Grid({"beta": axis(0.1, beta, beta_steps), "alpha": axis(0.1, alpha, alpha_steps)})


def check_search_and_test(golden: Golden, head: TipAdapterHead, prefix: str, name: str) -> None:
    out, (val, y_val, test, y_test) = golden.outputs, (golden.inputs[k] for k in ("val", "y_val", "test", "y_test"))
    *best, best_accuracy = out[f"{prefix}/grid_best"].tolist()
    check_choice(head, official_grid(golden), val, y_val, best, best_accuracy)
    with torch.no_grad():
        torch.testing.assert_close(head(test), out[f"{prefix}/test_logits"], atol=1e-3, rtol=0)
    assert accuracy(head, test, y_test) == pytest.approx(out[f"{prefix}/{name}"].item(), abs=one_image(y_test))


def test_tip_adapter(golden):
    head = official_head(golden, learn_keys=False)
    check_search_and_test(golden, head, "tip", "test_acc")
    head.hparams["alpha"] = 0.0
    for split in ("val", "test"):
        features, labels = golden.inputs[split], golden.inputs[f"y_{split}"]
        zero_shot = golden.outputs[f"tip/zs_{split}_acc"].item()
        assert accuracy(head, features, labels) == pytest.approx(zero_shot, abs=one_image(labels))


def test_tip_adapter_f(golden):
    out, head = golden.outputs, official_head(golden, learn_keys=True)
    test, y_test = golden.inputs["test"], golden.inputs["y_test"]
    steps_per_epoch = len(out["tipf/loss"]) // len(out["tipf/test_acc_per_epoch"])
    scores, states = [], []
    for step, loss in train(golden, head, golden.meta["cfg"]["tip"]["lr"], eps=1e-4, weight_decay=0.01):
        assert loss == pytest.approx(out["tipf/loss"][step - 1].item(), abs=1e-5)
        if step == 1:
            torch.testing.assert_close(head.cache_keys.grad, out["tipf/grad_step1"], atol=1e-5, rtol=1e-3)
        if step == 5:
            torch.testing.assert_close(head.cache_keys.detach(), out["tipf/weight_step5"], atol=1e-5, rtol=0)
        if step % steps_per_epoch == 0:
            scores.append(accuracy(head, test, y_test))
            states.append({name: tensor.clone() for name, tensor in head.state_dict().items()})
    torch.testing.assert_close(head.cache_keys.detach(), out["tipf/weight_last"], atol=1e-5, rtol=0)
    theirs = out["tipf/test_acc_per_epoch"]
    assert (torch.tensor(scores) - theirs).abs().max() <= one_image(y_test)
    head.load_state_dict(states[int(theirs.argmax())])  # their choice of the epoch, on the test images
    check_search_and_test(golden, head, "tipf", "test_acc_searched")
