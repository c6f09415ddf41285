"""ZS-LP and CLAP against the authors' own code in float32, for every shot count."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from dassl.optim import build_lr_scheduler, build_optimizer
from helpers.golden import SHARED_SETTINGS, Golden, official_cfg
from simnl.fewshot.loaders import SupportLoader
from simnl.fewshot.selection import accuracy
from trainers.clap import CLAPHead, ZSLPHead, class_multipliers


def head_of(golden: Golden, key: str) -> ZSLPHead:
    base, labels = 10 * golden.text("cupl"), golden.inputs[f"labels_K{golden.shots}"].long()
    if key == "zslp":
        return ZSLPHead(base, 100.0)
    multipliers = class_multipliers(golden.shot_views(), labels, base, 100.0, "zero-shot")
    torch.testing.assert_close(multipliers, golden.outputs["clap/multipliers"], atol=1e-6, rtol=1e-5)
    return CLAPHead(base, 100.0, multipliers)


@pytest.mark.parametrize("setting", SHARED_SETTINGS)
@pytest.mark.parametrize("trainer", ["ZSLP", "CLAP"])
def test_training_and_test(trainer, setting):
    golden, key = Golden(setting), trainer.lower()
    settings = golden.meta["cfg"]["clap"]
    out = {name.removeprefix(f"{key}/"): t for name, t in golden.outputs.items() if name.startswith(f"{key}/")}
    head, cfg = head_of(golden, key), official_cfg(trainer, LR=settings["lr"], MAX_EPOCH=settings["epochs"])
    optim = build_optimizer(head, cfg.OPTIM)
    schedule = build_lr_scheduler(optim, cfg.OPTIM)
    labels, views = golden.inputs[f"labels_K{golden.shots}"].long(), golden.shot_views()
    test, y_test, step = golden.inputs["test"], golden.inputs["y_test"], 0
    for epoch in out["idx"].long():
        for rows in epoch.split(settings["B"]):
            loss = sum(head.losses(views.flatten(0, 1)[rows], labels.repeat(len(views))[rows]).values())
            assert optim.param_groups[0]["lr"] == pytest.approx(out["lrs"][step].item(), rel=1e-5)
            assert loss.item() == pytest.approx(out["losses"][step].item(), abs=1e-5)
            optim.zero_grad()
            loss.backward()
            optim.step()
            assert abs(accuracy(head, test, y_test) - out["acc_test"][step].item()) <= 100 / len(test) + 1e-3
            step += 1
        schedule.step()
    assert step == len(out["losses"])
    torch.testing.assert_close(head.prototypes.detach(), out["prototypes"], atol=1e-5, rtol=0)
    with torch.no_grad():
        torch.testing.assert_close(head(test), out["final_test_logits"], atol=1e-3, rtol=0)
    summary = golden.meta["summary"][str(golden.shots)][key]
    assert abs(accuracy(head, test, y_test) - summary) <= 100 / len(test) + 1e-3


@pytest.mark.parametrize("setting", SHARED_SETTINGS)
def test_epochs_of_the_official_preset_have_the_recorded_size(setting):
    """Their epoch: a part of the permuted rows of all views, as many batches as Dassl's loader has."""
    golden = Golden(setting)
    cfg, views = official_cfg("CLAP"), golden.shot_views()
    labels = golden.inputs[f"labels_K{golden.shots}"].long()
    loader = SupportLoader(
        views, labels, golden.meta["cfg"]["clap"]["B"], 1, cfg.DATALOADER.TRAIN_X.DROP_LAST, cfg.VIEWS.ORDER
    )
    batches = list(loader)
    recorded = golden.outputs["clap/idx"][0].long()
    lengths = [len(part) for part in recorded.split(loader.batch_size)]
    assert [len(batch["label"]) for batch in batches] == lengths
    rows = torch.cat([batch["img"] for batch in batches])
    assert len(rows.unique(dim=0)) == len(rows) == len(recorded.unique())  # without replacement
    known = {tuple(row.tolist()) for row in F.normalize(views.flatten(0, 1), dim=-1)}
    assert {tuple(row.tolist()) for row in F.normalize(rows, dim=-1)} <= known
