"""Recipes: the arguments of an object as plain json and named tensors, from which the object can be made again.

A head gets tensors, numbers and words, so the arguments of its constructor define it completely. A class that derives
from `Rebuildable` remembers them. `packed` turns them into json and tensors, and `rebuilt` calls the constructors
again. Only imported classes that derive from `Rebuildable` can be made in this way, so a file cannot name other code.
The frozen CLIP is never written; `rebuilt` asks the caller for it.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from simnl.clip.model import FrozenCLIP

PLAIN = (bool, int, float, str, type(None))
# The keys that say what a json object stands for.
TENSOR, DTYPE, GENERATOR, TUPLE, DICT, BACKBONE = "tensor", "dtype", "generator", "tuple", "dict", "backbone"
MADE, ARGUMENTS = "made", "arguments"
DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}
KNOWN: dict[str, type[Rebuildable]] = {}


class NotRebuildable(TypeError):
    """A file cannot hold an argument; the message names it."""


class Rebuildable:
    """An object that remembers the arguments of its constructor. `packed` says which kinds of arguments are allowed."""

    _made_of: tuple[tuple, dict[str, Any]] | None

    def __new__(cls, *args: Any, **kwargs: Any):
        """Remember the arguments of the class's own constructor, not those of its base classes."""
        made = super().__new__(cls)
        if not is_dataclass(cls):  # the fields of a dataclass are its arguments
            made.__dict__["_made_of"] = args, kwargs
        return made

    def __init_subclass__(cls, **kwargs: Any):
        """Register each class that derives from this one under its name."""
        super().__init_subclass__(**kwargs)
        KNOWN[name_of(cls)] = cls

    def forget_arguments(self) -> None:
        """Drop the arguments, which may be large, for objects that are never written to files."""
        self.__dict__["_made_of"] = None

    def arguments(self) -> dict[str, Any]:
        """The arguments of `remade`; by default those of the constructor, by name.

        A class overrides this if a result must not be decided again from the arguments, such as a choice between nearly
        equal values.
        """
        if is_dataclass(self):
            return {field.name: getattr(self, field.name) for field in fields(self) if field.init}
        if self._made_of is None:
            raise NotRebuildable(f"{name_of(type(self))} has dropped its arguments, so it cannot be written to a file.")
        args, kwargs = self._made_of
        signature = inspect.signature(type(self).__init__)
        given = dict(signature.bind(self, *args, **kwargs).arguments)
        given.pop(next(iter(signature.parameters)))
        for name, parameter in signature.parameters.items():
            if parameter.kind is parameter.VAR_KEYWORD:
                given |= given.pop(name, {})
            elif parameter.kind is parameter.VAR_POSITIONAL and given.get(name):
                raise NotRebuildable(f"{name_of(type(self))} takes any number of arguments (*{name}). Name each one.")
        return given

    @classmethod
    def remade(cls, **arguments: Any):
        """An object that is equal to the one with these `arguments`."""
        return cls(**arguments)


def name_of(made: type) -> str:
    """The name under which a class is found, `trainers.simnl.SimNLHead`."""
    return f"{made.__module__}.{made.__qualname__}"


def packed(value: object, tensors: dict[str, Tensor], name: str) -> object:
    """A value as json. Its tensors are put into `tensors`, each once, under the names that the json uses.

    Args:
        value: a tensor, a finite number, a text, None, a tensor's type, a generator of initial values (its seed is
            written), a list, tuple or dict (with texts as keys) of these, the frozen CLIP, or a `Rebuildable` whose
            arguments are such values.
        tensors: the tensors that have a name already, on the CPU; more are added.
        name: the name of the value, with which the names of its tensors begin.

    Raises:
        NotRebuildable: the value holds something else. The message says where and what.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise NotRebuildable(f"{name} is {value}, which json cannot hold.")
    if type(value) in PLAIN:
        return value
    if isinstance(value, Tensor):
        return {TENSOR: named(value, tensors, name)}
    if isinstance(value, torch.dtype):
        return {DTYPE: str(value).removeprefix("torch.")}
    if isinstance(value, torch.Generator):
        return {GENERATOR: value.initial_seed()}
    if _is_clip(value):
        return {BACKBONE: True}
    if isinstance(value, Rebuildable):
        return {MADE: name_of(type(value)), ARGUMENTS: _packed_dict(value.arguments(), tensors, name)}
    if isinstance(value, list | tuple):
        parts = [packed(part, tensors, f"{name}.{i}") for i, part in enumerate(value)]
        return parts if isinstance(value, list) else {TUPLE: parts}
    if isinstance(value, dict):
        return {DICT: _packed_dict(value, tensors, name)}
    raise NotRebuildable(
        f"{name} is a {name_of(type(value))}. A head in a file can only hold tensors, numbers, texts, lists, the "
        "frozen CLIP, and classes that derive from Rebuildable (simnl/clip/recipe.py)."
    )


def _is_clip(value: object) -> bool:
    from simnl.clip.model import FrozenCLIP  # imported here, because parts of the model derive from Rebuildable

    return isinstance(value, FrozenCLIP)


def _packed_dict(values: Mapping[str, object], tensors: dict[str, Tensor], name: str) -> dict[str, object]:
    return {key: packed(value, tensors, f"{name}.{key}") for key, value in values.items()}


def named(tensor: Tensor, tensors: dict[str, Tensor], name: str) -> str:
    """Name a tensor, or find the name of an equal one in `tensors`."""
    plain = tensor.detach().cpu()
    for known, other in tensors.items():
        if other.dtype == plain.dtype and other.shape == plain.shape and torch.equal(other, plain):
            return known
    tensors[name] = plain.clone()  # the tensors of a file must not share memory
    return name


def rebuilt(packed_value: Any, tensors: Mapping[str, Tensor], clip: Callable[[], FrozenCLIP]) -> Any:
    """The value that `packed` turned into json.

    Args:
        packed_value: the json.
        tensors: the tensors by name.
        clip: a function that gives the frozen CLIP, called if the value needs it.

    Raises:
        LookupError: a tensor or a class is missing. The message names it.
        TypeError, ValueError: arguments do not fit the class.
    """
    if isinstance(packed_value, list):
        return [rebuilt(part, tensors, clip) for part in packed_value]
    if not isinstance(packed_value, dict):
        return packed_value
    if TENSOR in packed_value:
        return tensors[packed_value[TENSOR]]
    if DTYPE in packed_value:
        return DTYPES[packed_value[DTYPE]]
    if GENERATOR in packed_value:
        return torch.Generator().manual_seed(packed_value[GENERATOR])
    if BACKBONE in packed_value:
        return clip()
    if TUPLE in packed_value:
        return tuple(rebuilt(part, tensors, clip) for part in packed_value[TUPLE])
    if DICT in packed_value:
        return {key: rebuilt(value, tensors, clip) for key, value in packed_value[DICT].items()}
    if packed_value[MADE] not in KNOWN:
        raise LookupError(packed_value[MADE])
    arguments = {key: rebuilt(value, tensors, clip) for key, value in packed_value[ARGUMENTS].items()}
    return KNOWN[packed_value[MADE]].remade(**arguments)
