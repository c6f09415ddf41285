"""TaskRes against the authors' own code in float32: learning rates, losses, residuals, logits, for every shot count."""

from __future__ import annotations

import pytest
import torch

from dassl.optim import build_lr_scheduler, build_optimizer
from helpers.golden import SHARED_SETTINGS, Golden, official_cfg
from simnl.fewshot.selection import accuracy
from trainers.task_res import TaskResHead


@pytest.mark.parametrize("setting", SHARED_SETTINGS)
def test_training_and_test(setting):
    golden = Golden(setting)
    settings = golden.meta["cfg"]["tr"]
    out = {k.removeprefix("taskres/"): t for k, t in golden.outputs.items() if k.startswith("taskres/")}
    cfg = official_cfg("TaskRes", LR=settings["lr"], MAX_EPOCH=settings["epochs"])
    assert cfg.SELECTION.EPOCH == "last"
    head = TaskResHead(golden.text("cupl"), 100.0, settings["scale"])
    optim = build_optimizer(head, cfg.OPTIM)
    schedule = build_lr_scheduler(optim, cfg.OPTIM)
    labels, views = golden.inputs[f"labels_K{golden.shots}"].long(), golden.shot_views()
    step = 0
    for epoch in golden.inputs[f"order_tr_K{golden.shots}"].long().split(len(labels)):
        for part in epoch.split(golden.meta["batch_size"]):
            loss = sum(head.losses(views[part[:, 0], part[:, 1]], labels[part[:, 1]]).values())
            assert optim.param_groups[0]["lr"] == pytest.approx(out["lrs"][step].item(), rel=1e-5)
            assert loss.item() == pytest.approx(out["losses"][step].item(), abs=1e-5)
            optim.zero_grad()
            loss.backward()
            optim.step()
            step += 1
            if step == 5:
                torch.testing.assert_close(head.residual.detach(), out["residual_step5"], atol=1e-5, rtol=0)
        schedule.step()
    assert step == len(out["losses"])
    torch.testing.assert_close(head.residual.detach(), out["residual_final"], atol=1e-5, rtol=0)
    test, y_test = golden.inputs["test"], golden.inputs["y_test"]
    with torch.no_grad():
        torch.testing.assert_close(head(test), out["final_test_logits"], atol=1e-3, rtol=0)
    official = golden.meta["summary"][str(golden.shots)]["taskres"]
    assert abs(accuracy(head, test, y_test) - official) <= 100 / len(test) + 1e-3
