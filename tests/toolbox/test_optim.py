"""Optimisers and schedules: upstream's learning rates, and resuming in the middle of them."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler, build_optimizer, lr_scheduler, radam

LR_GOLDENS = json.loads((Path(__file__).parents[1] / "goldens/lr_goldens.json").read_text())
OPTIMS = {
    "adam": torch.optim.Adam,
    "amsgrad": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "rmsprop": torch.optim.RMSprop,
    "radam": torch.optim.RAdam,
    "adamw": torch.optim.AdamW,
}


def optim_cfg(**values):
    node = get_cfg_default().OPTIM
    for key, value in values.items():
        node[key] = value
    return node


def make(values: dict, **more):
    node = optim_cfg(**values, **more)
    optimizer = build_optimizer([nn.Parameter(torch.ones(2))], node)
    return optimizer, build_lr_scheduler(optimizer, node)


def rates(optimizer, scheduler, count: int) -> list[float]:
    """Learning rate in each of the next epochs; after them it stands at the one that follows."""
    result = []
    for _ in range(count):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return result


@pytest.mark.parametrize("name", LR_GOLDENS)
def test_schedule_is_upstreams(name):
    golden = LR_GOLDENS[name]
    assert rates(*make(golden["cfg"]), len(golden["lr_used_in_epoch"])) == golden["lr_used_in_epoch"]


@pytest.mark.parametrize("name", LR_GOLDENS)
@pytest.mark.parametrize("done", [1, 4])
def test_schedule_goes_on_after_a_resume(name, done):
    """Upstream's stood still: its state held a scheduler bound to another optimiser."""
    golden = LR_GOLDENS[name]
    optimizer, scheduler = make(golden["cfg"])
    rates(optimizer, scheduler, done)
    states = copy.deepcopy((optimizer.state_dict(), scheduler.state_dict()))
    optimizer, scheduler = make(golden["cfg"])
    optimizer.load_state_dict(states[0])
    scheduler.load_state_dict(states[1])
    assert scheduler.get_last_lr() == [optimizer.param_groups[0]["lr"]]
    rest = golden["lr_used_in_epoch"][done:]
    assert rates(optimizer, scheduler, len(rest)) == rest


@pytest.mark.parametrize("name", ["ConstantWarmupScheduler", "LinearWarmupScheduler"])
@pytest.mark.parametrize("more", [{"verbose": False}, {"verbose": True, "last_epoch": -1}])
def test_upstreams_arguments_of_a_warmup(name, more):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)
    successor = torch.optim.lr_scheduler.StepLR(optimizer, 10)
    kind = getattr(lr_scheduler, name)
    scheduler = kind(optimizer, successor, 2, 1e-3, **more)
    assert rates(optimizer, scheduler, 3) == [1e-3, 1e-3 if name.startswith("Const") else 0.05, 0.1]
    kind(optimizer, successor, 2, 1e-3, -1, False)


def test_a_plugins_warmup():
    """It overrides `get_lr`, as upstream's do."""

    class Half(lr_scheduler._BaseWarmupScheduler):
        def get_lr(self):
            if self.last_epoch >= self.warmup_epoch:
                return self.successor.get_last_lr()
            return [lr / 2 for lr in self.base_lrs]

    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)
    scheduler = Half(optimizer, torch.optim.lr_scheduler.StepLR(optimizer, 10), 2, verbose=False)
    assert rates(optimizer, scheduler, 3) == [0.05, 0.05, 0.1]


def test_state_of_a_warmup_is_plain(tmp_path):
    _, scheduler = make(LR_GOLDENS["multi_step_2_6_lin2_ep10"]["cfg"])
    torch.save(scheduler.state_dict(), tmp_path / "state")
    assert torch.load(tmp_path / "state", weights_only=True) == scheduler.state_dict()


def test_warmup_of_several_groups():
    node = optim_cfg(LR=0.1, NAME="sgd", WARMUP_EPOCH=2, WARMUP_TYPE="linear", LR_SCHEDULER="cosine")
    groups = [{"params": nn.Parameter(torch.ones(1)), "lr": lr} for lr in (0.1, 0.4)]
    optimizer = build_optimizer(groups, node)
    scheduler = build_lr_scheduler(optimizer, node)
    seen = []
    for _ in range(4):
        seen.append([g["lr"] for g in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    first = (1 + math.cos(math.pi / 10)) / 2
    expected = [[1e-5, 1e-5], [0.05, 0.2], [0.1, 0.4], [0.1 * first, 0.4 * first]]
    assert torch.allclose(torch.tensor(seen), torch.tensor(expected))


@pytest.mark.parametrize(
    ("values", "error", "text"),
    [
        ({"LR_SCHEDULER": "cosin"}, ValueError, "cosin.*single_step"),
        ({"WARMUP_EPOCH": 1, "WARMUP_TYPE": "cubic"}, ValueError, "cubic.*linear"),
        ({"LR_SCHEDULER": "multi_step", "STEPSIZE": 3}, TypeError, "list of epochs"),
        ({"NAME": "lion"}, ValueError, "lion.*sgd"),
    ],
)
def test_unknown_choice(values, error, text):
    with pytest.raises(error, match=text):
        make(values)


@pytest.mark.parametrize("name", OPTIMS)
def test_optimizer_settings(name):
    node = optim_cfg(NAME=name, LR=0.5, WEIGHT_DECAY=0.25, MOMENTUM=0.75, ADAM_BETA1=0.5, ADAM_BETA2=0.625)
    optimizer = build_optimizer(nn.Linear(2, 2), node)
    assert isinstance(optimizer, OPTIMS[name])
    group = optimizer.param_groups[0]
    assert len(group["params"]) == 2
    assert (group["lr"], group["weight_decay"]) == (0.5, 0.25)
    if name in ("sgd", "rmsprop"):
        assert group["momentum"] == 0.75
    else:
        assert tuple(group["betas"]) == (0.5, 0.625)
    assert group.get("amsgrad", False) is (name == "amsgrad")


def test_frozen_parameters_are_given_but_not_touched():
    model = nn.Linear(2, 2)
    model.weight.requires_grad_(False)
    before = model.weight.clone()
    optimizer = build_optimizer(model, optim_cfg(NAME="sgd", LR=0.1))
    assert len(optimizer.param_groups[0]["params"]) == 2
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(model.weight, before)


def test_staged_lr():
    model = nn.ModuleDict({"backbone": nn.Linear(2, 3), "head": nn.Linear(3, 1)})
    node = optim_cfg(NAME="sgd", LR=0.2, STAGED_LR=True, NEW_LAYERS=["head"], BASE_LR_MULT=0.5)
    by_size = {g["params"][0].numel(): g["lr"] for g in build_optimizer(model, node).param_groups}
    assert by_size == {6: 0.1, 3: 0.2}
    with pytest.warns(UserWarning, match="STAGED_LR is ignored"):
        groups = build_optimizer(model, node, param_groups=[{"params": model["head"].parameters()}]).param_groups
    assert [g["lr"] for g in groups] == [0.2]
    with pytest.raises(ValueError, match="haed.*head"):
        build_optimizer(model, optim_cfg(STAGED_LR=True, NEW_LAYERS="haed"))
    with pytest.raises(TypeError, match="nn.Module"):
        build_optimizer(model.parameters(), node)


def test_radam_is_the_papers_with_decoupled_decay():
    """Against a straight-line reference; in the first steps the variance is intractable."""
    lr, decay, (beta1, beta2) = 0.1, 0.2, (0.8, 0.9)
    start = torch.tensor([0.5, -1.5], dtype=torch.float64)
    param = nn.Parameter(start.clone())
    node = optim_cfg(NAME="radam", LR=lr, WEIGHT_DECAY=decay, ADAM_BETA1=beta1, ADAM_BETA2=beta2)
    optimizer = build_optimizer([param], node)
    x, m, v, rectified = start.clone(), 0.0, 0.0, 0
    for t in range(1, 13):
        (param.sin().sum() + (param**2).sum()).backward()
        optimizer.step()
        optimizer.zero_grad()
        grad = x.cos() + 2 * x
        m, v = beta1 * m + (1 - beta1) * grad, beta2 * v + (1 - beta2) * grad**2
        x = x * (1 - lr * decay)
        rho_max = 2 / (1 - beta2) - 1
        rho = rho_max - 2 * t * beta2**t / (1 - beta2**t)
        step = m / (1 - beta1**t)
        if rho > 5:
            rectified += 1
            r = math.sqrt((rho - 4) * (rho - 2) * rho_max / ((rho_max - 4) * (rho_max - 2) * rho))
            step = step * r * math.sqrt(1 - beta2**t) / (v.sqrt() + 1e-8)
        x = x - lr * step
        assert torch.allclose(param.detach(), x, rtol=1e-9)
    assert 0 < rectified < 12


def steps(optimizer, param, count: int) -> list[float]:
    values = []
    for _ in range(count):
        optimizer.zero_grad()
        (param.sin().sum() + (param**2).sum()).backward()
        optimizer.step()
        values.append(param.item())
    return values


def test_radam_that_waits():
    """Without `degenerated_to_sgd` the first steps, whose variance is intractable, change the moments only."""
    waiting, plain = (nn.Parameter(torch.tensor([0.5], dtype=torch.float64)) for _ in range(2))
    settings = {"lr": 0.1, "betas": (0.8, 0.9), "weight_decay": 0.2}
    first = steps(radam.RAdam([waiting], degenerated_to_sgd=False, **settings), waiting, 12)
    assert first[:5] == [0.5] * 5
    assert first[-1] != 0.5
    moved = steps(radam.PlainRAdam([plain], degenerated_to_sgd=True, **settings), plain, 1)
    assert moved[0] != 0.5


def test_adamw_with_a_warmup_of_its_own():
    ours, reference = (nn.Parameter(torch.tensor([0.5], dtype=torch.float64)) for _ in range(2))
    optimizer = radam.AdamW([ours], lr=0.1, weight_decay=0.2, warmup=4)
    values, expected = steps(optimizer, ours, 6), []
    torchs = torch.optim.AdamW([reference], lr=0.1, weight_decay=0.2)
    for rate in (0.025, 0.05, 0.075, 0.1, 0.1, 0.1):
        torchs.param_groups[0]["lr"] = rate
        expected += steps(torchs, reference, 1)
    assert values == pytest.approx(expected, abs=1e-6)  # 1e-8 is added to the rising rate
    assert optimizer.param_groups[0]["lr"] == 0.1
