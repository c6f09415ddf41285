"""Values as a checkpoint may hold them: tensors and plain Python, which can be read back without running code."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime
import enum
import os
import types
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

__all__ = ["to_plain"]

# Kept as they are. `load_checkpoint` reads exactly these types; a subclass (`numpy.float64` is one of float) it
# does not.
KEPT = (
    bool, int, float, complex, str, bytes, bytearray, type(None),
    torch.Tensor, nn.Parameter, torch.Size, torch.dtype, torch.device,
)  # fmt: skip
LONGEST_INT = 2000  # bits; torch reads no longer ones
BASES: tuple[Any, ...] = (bool, int, float, complex, str, bytes, bytearray)
TIMES = (datetime.date, datetime.time)


def to_plain(value: Any, name: str = "state") -> Any:
    """A copy of a value that `load_checkpoint` reads back; what is plain already is kept, tensors are not copied.

    Converted are: numpy arrays (of numbers: to tensors; of text: to lists), numpy scalars, subclasses of str, float and
    the like, enum members (to their value), subclasses of tensors; Namespaces and dataclasses, CfgNodes, defaultdicts
    and other mappings (to dict); named tuples (to tuple), ranges and deques (to list), frozensets (to set), paths
    (to str), dates and times (to text in ISO format), schedulers and optimisers (to their state dicts).

    Args:
        value: anything.
        name: how to call it in messages.

    Raises:
        TypeError: it holds something else, like a function, a module or an optimiser; the text names the key.
        ValueError: it contains itself, or is nested too deep.
    """
    try:
        return _Converter().convert(value, name)
    except RecursionError as error:
        raise ValueError(f"{name} is nested too deep to be saved in a checkpoint") from error


class _Converter:
    """Remembers the containers that it is in."""

    def __init__(self) -> None:
        self.inside: set[int] = set()

    def convert(self, value: Any, name: str) -> Any:
        if type(value) is int and value.bit_length() > LONGEST_INT:
            raise TypeError(f"{name} is a whole number of {value.bit_length()} bits, which a checkpoint cannot hold")
        if type(value) in KEPT:
            return value
        if isinstance(value, (torch.Tensor, np.ndarray, np.generic)):
            return self.array(value, name)
        if isinstance(value, enum.Enum):
            return self.convert(value.value, name)
        for base in BASES:
            if isinstance(value, base):
                return base(value)
        if isinstance(value, os.PathLike):
            return self.convert(os.fspath(value), name)
        if isinstance(value, TIMES):
            return value.isoformat()
        if id(value) in self.inside:
            raise ValueError(f"{name} contains itself, so it cannot be saved in a checkpoint")
        self.inside.add(id(value))
        try:
            return self.container(value, name)
        finally:
            self.inside.remove(id(value))

    def array(self, value: Any, name: str) -> Any:
        """A tensor, or a Python value, for a subclass of tensors or something of numpy's."""
        if isinstance(value, nn.Parameter):
            return nn.Parameter(value.detach().as_subclass(torch.Tensor), value.requires_grad)
        if isinstance(value, torch.Tensor):
            return value.detach().as_subclass(torch.Tensor)
        if isinstance(value, np.ma.MaskedArray):
            raise TypeError(f"{name} is a masked array, which a checkpoint cannot hold. Save its data and its mask")
        if value.dtype.kind in "fc" and value.dtype.itemsize > (8 if value.dtype.kind == "f" else 16):
            value = value.astype(float if value.dtype.kind == "f" else complex)  # torch has no long double
        if value.dtype.kind in "Mm":  # dates and durations: as text
            return value.astype(str).tolist()
        if isinstance(value, np.generic) or value.dtype.kind not in "biufc":
            return self.convert(value.tolist(), name)
        native = np.ascontiguousarray(value, value.dtype.newbyteorder("=")).reshape(value.shape)
        return torch.from_numpy(native.copy())

    def container(self, value: Any, name: str) -> Any:
        if isinstance(value, (argparse.Namespace, types.SimpleNamespace)):
            return self.mapping(vars(value), name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return self.mapping({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, name)
        if isinstance(value, (LRScheduler, Optimizer)):
            return self.mapping(value.state_dict(), name)
        if isinstance(value, Mapping):
            return self.mapping(value, name)
        if isinstance(value, (list, range, collections.deque)):
            return [self.convert(item, f"{name}[{number}]") for number, item in enumerate(value)]
        if isinstance(value, tuple):
            return tuple(self.convert(item, f"{name}[{number}]") for number, item in enumerate(value))
        if isinstance(value, (set, frozenset)):
            return {self.convert(item, f"an item of {name}") for item in value}
        raise TypeError(
            f"{name} is {_described(value)}, which a checkpoint cannot hold: tensors and plain values only, so that "
            "reading it runs no code. Leave it out, or save its state dict, or its content as numbers and text"
        )

    def mapping(self, value: Mapping, name: str) -> dict:
        # Counter is what MultiStepLR keeps its milestones in, OrderedDict what modules give; both can be read.
        kind = type(value) if type(value) in (collections.OrderedDict, collections.Counter) else dict
        result: Any = kind()
        for key, item in value.items():
            result[self.convert(key, f"a key of {name}")] = self.convert(item, f"{name}[{key!r}]")
        if hasattr(value, "_metadata"):  # versions of modules, beside the entries of their state dicts
            result._metadata = self.convert(value._metadata, f"{name}._metadata")
        return result


def _described(value: Any) -> str:
    if isinstance(value, (types.FunctionType, types.MethodType)):
        return f"the function {value.__qualname__}"
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    return f"of type {type(value).__module__}.{type(value).__qualname__}"
