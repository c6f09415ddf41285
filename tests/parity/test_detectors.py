"""Learned detectors of unknown classes against the authors' own functions, on synthetic features in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.detection_golden import golden
from trainers.locoop import patch_entropy_loss
from trainers.lsn import alikeness, cross_entropy, lsn_score
from trainers.neg_prompt import apart_loss, negative_scores, other_loss, spread_loss
from trainers.rpl import RPLHead

SCALE = 100.0


@pytest.fixture(scope="module")
def recorded() -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in golden("learned").items()}


def unit(rows: Tensor) -> Tensor:
    return F.normalize(rows, dim=-1)


def close(ours: Tensor, theirs: Tensor, share: float) -> None:
    torch.testing.assert_close(ours.detach().double(), theirs.double(), atol=share * float(theirs.abs().max()), rtol=0)


def slope(loss: Tensor, at: Tensor) -> Tensor:
    return torch.autograd.grad(loss, at, retain_graph=True)[0]


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_rpl(recorded, temperature):
    out = {k.rpartition("/")[2]: v for k, v in recorded.items() if k.startswith(f"rpl/RPLoss/temp{temperature}/")}
    head = RPLHead(out["centers"], out["radius"].item(), temperature, 0.1, unit=False, divided=True)
    x, labels = recorded["rpl/x"].clone().requires_grad_(), recorded["rpl/labels"]
    loss = sum(head.losses(x, labels).values())
    close(loss, out["loss"], 2e-5)
    close(head.distances(x).softmax(1), out["logits"], 2e-5)
    close(head.own_scores(x)["distance_msp"], out["logits"].max(1).values, 2e-5)
    for tensor, name in ((x, "x"), (head.points, "centers"), (head.radius, "radius")):
        close(slope(loss, tensor).reshape(out[f"grad_{name}"].shape), out[f"grad_{name}"], 2e-4)


@pytest.mark.parametrize("setting", ["top1_lambda0.25", "top3_lambda0.25", "top6_lambda1.0", "top12_lambda0.25"])
def test_locoop(recorded, setting):
    top, weight = (float(part) for part in setting.removeprefix("top").split("_lambda"))
    raw, labels = recorded["locoop/text_raw"].clone().requires_grad_(), recorded["locoop/labels"]
    logits, local = (SCALE * unit(recorded[f"locoop/{name}"]) @ unit(raw).T for name in ("global", "local"))
    ce, entropy = F.cross_entropy(logits, labels), patch_entropy_loss(local, labels, int(top))
    close(torch.stack([ce + weight * entropy, ce, entropy]), recorded[f"locoop/{setting}/[loss,loss_id,loss_en]"], 2e-5)
    close(slope(ce + weight * entropy, raw), recorded[f"locoop/{setting}/grad_text_raw"], 2e-4)


def test_lsn(recorded):
    out = {k.removeprefix("lsn/"): v for k, v in recorded.items() if k.startswith("lsn/")}
    f, labels = unit(recorded["negprompt/features"]), recorded["negprompt/labels"]  # the support of all parts
    raw = out["yes/raw"].clone().requires_grad_()
    loss = cross_entropy(SCALE * f @ unit(raw).T, labels, twice=True)
    close(slope(loss, raw), out["yes/grad_raw"], 2e-4)
    sets = torch.stack([out[f"no{k}/raw"] for k in (1, 2, 3)]).requires_grad_()
    q = unit(sets)
    denied = torch.stack([cross_entropy(20 * (1 - f @ rows.T), labels, twice=True) for rows in q])
    others = ((q[2] * q[0]).sum(-1) + (q[2] * q[1]).sum(-1)).mean() / 2
    close(torch.stack([denied[2], others, denied[2] + others]), out["no3/[ce,orthogonal,loss]"], 2e-5)
    close(slope(denied.sum() + alikeness(q), sets), torch.stack([out[f"no{k}/grad_raw"] for k in (1, 2, 3)]), 2e-4)
    for side in ("id", "near", "far", "noise"):
        x = unit(out[f"features_{side}"])
        close(lsn_score(x @ unit(raw).T, x @ q.mT), out[f"score_plus/{side}"], 2e-5)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", ["MSP", "OE", "Fence-released"])
def test_negprompt(recorded, count, kind):
    name = f"negprompt/neg{count}"
    raw, labels = recorded[f"{name}/text_raw"].clone().requires_grad_(), recorded["negprompt/labels"]
    texts = unit(raw)
    logits = SCALE * torch.einsum("bd,ckd->bck", unit(recorded["negprompt/features"]), texts)
    loss = other_loss(logits, labels, kind) + 0.1 * apart_loss(texts, kind) + 0.05 * spread_loss(texts)
    kind = kind.partition("-")[0]
    theirs = f"{name}/{kind}/stage3_proto0.0"
    close(loss, recorded[f"{theirs}/loss"], 2e-5)
    close(slope(loss, raw)[:, 1:], recorded[f"{theirs}/grad_raw"][:, 1:], 2e-4)
    ce = F.cross_entropy(logits[..., 0], labels)
    close(ce, recorded[f"{name}/{kind}/stage1_proto0.0/loss"], 2e-5)
    close(slope(ce, raw), recorded[f"{name}/{kind}/stage1_proto0.0/grad_raw"], 2e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_scores_of_negprompt(recorded, count):
    texts = unit(recorded[f"negprompt/neg{count}/text_raw"])
    names = {"nega": "nega", "posi_nega": "posi_nega", "msp_all": "msp", "energy_all": "energy_oe"}
    for side in ("id", "near"):
        f = unit(torch.from_numpy(golden("scores")[f"{side}_raw"]))
        found = negative_scores(torch.einsum("bd,ckd->bck", f, texts))
        for ours, theirs in names.items():
            sign = -1 if ours == "nega" else 1  # there, larger = unknown
            close(sign * found[ours], recorded[f"negprompt/neg{count}/score/{theirs}/{side}"], 2e-5)
    assert np.isfinite(found["nega"].numpy()).all()
