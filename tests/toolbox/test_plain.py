"""What is put into a checkpoint is converted to what can be read back, or refused by key when saving."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import enum
import functools
import os
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from yacs.config import CfgNode

from dassl.utils import load_checkpoint, save_checkpoint


class Level(enum.IntEnum):
    HIGH = 3


class Mode(enum.Enum):
    FAST = "fast"


@dataclasses.dataclass
class Point:
    x: int
    where: Path


class Odd(torch.Tensor):
    pass


Pair = collections.namedtuple("Pair", "a b")

CONVERTED = {
    "numpy scalar": (np.float64(0.5), 0.5),
    "numpy bool": (np.bool_(True), True),
    "numpy text": (np.str_("x"), "x"),
    "long double": (np.longdouble(0.5), 0.5),
    "numpy date": (np.datetime64("2020-01-02"), "2020-01-02"),
    "array": (np.arange(3), torch.arange(3)),
    "reversed array": (np.arange(3)[::-1], torch.tensor([2, 1, 0])),
    "big-endian array": (np.ones(2, ">f4"), torch.ones(2)),
    "uint16 array": (np.ones(2, np.uint16), torch.ones(2, dtype=torch.uint16)),
    "long doubles": (np.ones(2, np.longdouble), torch.ones(2, dtype=torch.float64)),
    "no dimension": (np.array(2.0), torch.tensor(2.0, dtype=torch.float64)),
    "array of text": (np.array(["a", "b"]), ["a", "b"]),
    "array of objects": (np.array([1, None, np.int64(2)], object), [1, None, 2]),
    "Namespace": (argparse.Namespace(lr=np.float32(0.5)), {"lr": 0.5}),
    "SimpleNamespace": (types.SimpleNamespace(a=(1,)), {"a": (1,)}),
    "CfgNode": (CfgNode({"A": {"B": (1, 2), "C": [np.int64(3)]}}), {"A": {"B": (1, 2), "C": [3]}}),
    "dataclass": (Point(1, Path("a") / "b"), {"x": 1, "where": os.path.join("a", "b")}),
    "defaultdict": (collections.defaultdict(list, {1: [2]}), {1: [2]}),
    "keys": ({np.int64(1): 1, Mode.FAST: 2, Path("x"): 3}, {1: 1, "fast": 2, "x": 3}),
    "proxy": (types.MappingProxyType({"a": 1}), {"a": 1}),
    "Counter": (collections.Counter("aab"), collections.Counter("aab")),
    "named tuple": (Pair(1, 2), (1, 2)),
    "range": (range(3), [0, 1, 2]),
    "deque": (collections.deque([1]), [1]),
    "set": ({1, 2}, {1, 2}),
    "frozenset": (frozenset({1}), {1}),
    "path": (Path("x"), "x"),
    "date": (datetime.date(2020, 1, 2), "2020-01-02"),
    "moment": (datetime.datetime(2020, 1, 2, 3), "2020-01-02T03:00:00"),
    "enum": (Mode.FAST, "fast"),
    "int enum": (Level.HIGH, 3),
    "tensor of another class": (torch.ones(2).as_subclass(Odd), torch.ones(2)),
    "parameter": (nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))),
    "bytes": (bytearray(b"ab"), bytearray(b"ab")),
    "complex": (1 + 2j, 1 + 2j),
    "type": (torch.float16, torch.float16),
    "nothing": (None, None),
    "schedule": (torch.optim.lr_scheduler.ConstantLR(torch.optim.SGD([torch.ones(1)], 1.0), 1.0, 7), None),
}


def saved(tmp_path, value):
    state = {"state_dict": {"weight": torch.ones(1)}, "epoch": 1, "args": value}
    return load_checkpoint(save_checkpoint(state, str(tmp_path)))["args"]


@pytest.mark.parametrize("name", CONVERTED)
def test_converted(tmp_path, name):
    value, expected = CONVERTED[name]
    result = saved(tmp_path, {"deep": [value]})["deep"][0]
    if name == "schedule":
        assert (type(result), result["total_iters"]) == (dict, 7)
        return
    assert type(result) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
        assert result.tolist() == expected.tolist()
    else:
        assert result == expected


LOOP: list = []
LOOP.append(LOOP)
DEEP: list = []
for _ in range(100_000):
    DEEP = [DEEP]
REFUSED = {
    "lambda": (lambda: 1, "the function .*lambda"),
    "function": (torch.relu, "function"),
    "partial": (functools.partial(print, 1), r"functools\.partial"),
    "method": (nn.Linear(1, 1).forward, r"the function .*Linear\.forward"),
    "class": (nn.Linear, "the class Linear"),
    "module": (nn.Linear(1, 1), r"Linear.*state dict"),
    "duration": (datetime.timedelta(1), "timedelta"),
    "object": (object(), "object"),
    "iterator": (iter([1]), "iterator"),
    "masked array": (np.ma.array([1], mask=[1]), "mask"),
    "number": (1 << 5000, "5001 bits"),
    "loop": (LOOP, "contains itself"),
    "depth": (DEEP, "too deep"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_when_saving_by_key(tmp_path, name):
    value, text = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=text) as caught:
        saved(tmp_path, {"deep": [value]})
    if name != "depth":
        assert "state['args']['deep'][0]" in str(caught.value)
    assert os.listdir(tmp_path) == []


def test_state_dicts_keep_their_order_and_versions(tmp_path):
    model = nn.BatchNorm1d(2)
    state = {"state_dict": model.state_dict(), "epoch": 1}
    path = save_checkpoint(state, str(tmp_path), remove_module_from_keys=False)
    loaded = load_checkpoint(path)["state_dict"]
    assert list(loaded) == list(model.state_dict())
    assert loaded._metadata == model.state_dict()._metadata
    assert state["state_dict"]["weight"].data_ptr() == model.weight.data_ptr()  # the caller's is not touched
