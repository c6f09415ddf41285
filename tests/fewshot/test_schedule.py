"""Learning rates that are counted in steps are those of a training with as many epochs as there are steps."""

from __future__ import annotations

import math

import pytest
import torch

from dassl.config import get_cfg_default
from dassl.optim import build_lr_scheduler
from simnl.fewshot.schedule import build_schedule, learned_groups
from simnl.fewshot.timing import Stopwatch, timed

EPOCHS, STEPS = 3, 4


def optim_cfg(**values):
    node = get_cfg_default().OPTIM
    node.STEP, node.EPS = "epoch", 1e-8
    for key, value in {"LR": 0.1, "MAX_EPOCH": EPOCHS, **values}.items():
        node[key] = value
    return node


def rates(node, build) -> list[float]:
    optim = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=node.LR)
    schedule, found = build(optim, node), []
    for _ in range(EPOCHS * STEPS):
        found.append(optim.param_groups[0]["lr"])
        optim.step()
        schedule.step()
    return found


SETTINGS = {
    "cosine": {"LR_SCHEDULER": "cosine"},
    "cosine after a warm-up": {"LR_SCHEDULER": "cosine", "WARMUP_EPOCH": 2, "WARMUP_TYPE": "linear"},
    "counted on": {"LR_SCHEDULER": "cosine", "WARMUP_EPOCH": 2, "WARMUP_RECOUNT": False},
    "single step at the end": {"LR_SCHEDULER": "single_step"},
    "single step": {"LR_SCHEDULER": "single_step", "STEPSIZE": (EPOCHS,)},
    "multi step": {"LR_SCHEDULER": "multi_step", "STEPSIZE": (2, 5)},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_steps_are_the_epochs_of_a_longer_training(name):
    node, longer = optim_cfg(STEP="batch", **SETTINGS[name]), optim_cfg(**SETTINGS[name])
    longer.MAX_EPOCH = EPOCHS * STEPS
    assert rates(node, lambda optim, o: build_schedule(optim, o, STEPS)) == rates(longer, build_lr_scheduler)
    assert node.MAX_EPOCH == EPOCHS


def test_the_cosine_in_steps_and_in_epochs():
    cosine = [0.05 * (1 + math.cos(math.pi * step / (EPOCHS * STEPS))) for step in range(EPOCHS * STEPS)]
    node = optim_cfg(STEP="batch", LR_SCHEDULER="cosine")
    assert rates(node, lambda optim, o: build_schedule(optim, o, STEPS)) == pytest.approx(cosine)
    node.STEP = "epoch"
    expected = [0.05 * (1 + math.cos(math.pi * step / EPOCHS)) for step in range(EPOCHS)]
    assert rates(node, lambda optim, o: build_schedule(optim, o, STEPS))[:EPOCHS] == pytest.approx(expected)


def test_groups_have_rates_of_their_own_and_empty_ones_are_left_out():
    one, two = torch.nn.Parameter(torch.zeros(1)), torch.nn.Parameter(torch.zeros(2))
    head = type("Two", (), {"parameter_groups": lambda self: [(1.0, [one]), (2.0, []), (5.0, [two])]})()
    groups = learned_groups(head, optim_cfg())
    assert [(group["params"], group["lr"], group["eps"]) for group in groups] == [
        ([one], 0.1, 1e-8),
        ([two], 0.5, 1e-8),
    ]


def test_a_timed_method_adds_its_seconds_and_one_that_fails_does_not():
    class Works:
        stopwatch = Stopwatch("work", "rest")

        @timed("work")
        def work(self, number: int, *, add: int = 0) -> int:
            """Divide."""
            return 6 // number + add

    one = Works()
    assert one.work(2, add=1) == 4
    assert Works.work.__doc__ == "Divide."
    first = one.stopwatch.seconds["work"]
    assert first > 0
    with pytest.raises(ZeroDivisionError):
        one.work(0)
    assert one.stopwatch.seconds == {"work": first, "rest": 0.0}
