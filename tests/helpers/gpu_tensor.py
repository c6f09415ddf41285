"""Tensors that say they are on a GPU while their numbers are in the CPU's memory. See make_believe_gpu.py.

To torch's C++ code such a tensor is one of the CPU: autograd, autocast and composite operators run as they do there, so
that results equal the CPU's. To Python it is on `cuda:N`, and each operator that reaches a kernel passes
`Rules.dispatch`, which refuses what CUDA refuses.
"""

from __future__ import annotations

import collections
import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils._python_dispatch import return_and_correct_aliasing

aten = torch.ops.aten
CPU = torch.device("cpu")
REPO = Path(__file__).resolve().parents[2]
TESTS = REPO / "tests"
OWN = (Path(__file__), TESTS / "helpers" / "make_believe_gpu.py")
# Their indices may be on the CPU: CUDA copies them.
INDEXING = {aten.index, aten._unsafe_index, aten.index_put, aten.index_put_, aten._index_put_impl_}
SCALARS_ALLOWED = {aten.masked_fill, aten.masked_fill_, aten.fill, aten.fill_, aten.where, aten.clamp, aten.lerp}
WAITS = {  # the CPU waits for the GPU: it must know a value, or a size that depends on values
    aten._local_scalar_dense: "item",
    aten.equal: "equal",
    aten.nonzero: "nonzero",
    aten.masked_select: "masked_select",
    aten.bincount: "bincount",
    aten._unique2: "unique",
    aten.unique_consecutive: "unique",
    aten.unique_dim: "unique",
    aten.histc: "histc",
}


def tensors_in(value: object) -> Iterator[Tensor]:
    """Tensors in nested tuples, lists and dicts: what torch's `tree_leaves` gives, at a tenth of its time."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from tensors_in(part)


def map_tensors(kind: type, function: Callable[[Tensor], Tensor], value: object) -> object:
    """Nested tuples, lists and dicts with each tensor of a kind replaced by `function` of it."""
    if isinstance(value, kind):
        return function(value)
    if type(value) in (tuple, list):
        return type(value)(map_tensors(kind, function, part) for part in value)
    if isinstance(value, tuple):  # a named one, or one of torch's own results with names
        parts = [map_tensors(kind, function, part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, dict):
        return {key: map_tensors(kind, function, part) for key, part in value.items()}
    return value


class GpuTensor(Tensor):
    """A tensor on a make-believe GPU; `inner` holds its numbers, `place` is its device."""

    inner: Tensor
    place: torch.device
    rules: Rules | None = None  # of the make-believe GPU that is there now
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: Tensor, place: torch.device):
        """Wrap a CPU tensor, whose memory is shared."""
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset(), "dtype": inner.dtype}
        made = Tensor._make_wrapper_subclass(cls, inner.size(), **layout, device=CPU)
        made.inner, made.place = inner, place
        return made

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if cls.rules is None:
            raise RuntimeError(f"{func}: a tensor of a make-believe GPU is used after the GPU has gone.")
        return cls.rules.dispatch(func, args, kwargs or {})

    # ------------------------------------------------------------------ what Python asks a tensor

    device = property(lambda self: self.place)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, GpuTensor) or value.shape != self.shape:
            raise RuntimeError("Here .data of a tensor on the GPU can only become another one of its shape and device.")
        self.inner = value.inner

    def get_device(self) -> int:
        return self.place.index

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def untyped_storage(self):
        return self.inner.untyped_storage()

    def numpy(self, *, force: bool = False):
        if force:
            return self.detach().cpu().numpy()
        raise TypeError(
            f"can't convert {self.place} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
            "memory first."
        )

    def __array__(self, dtype=None, copy=None):
        return self.numpy()

    def tolist(self):
        self.rules.wait("tolist")
        return self.inner.tolist()

    def to(self, *args, **kwargs) -> Tensor:
        return self.rules.to(self, *args, **kwargs)

    def cpu(self, memory_format=torch.preserve_format) -> Tensor:
        return self.rules.move(self, CPU)

    def cuda(self, device=None, non_blocking=False, memory_format=torch.preserve_format) -> Tensor:
        return self.rules.move(self, self.rules.place_of("cuda" if device is None else device))

    def __deepcopy__(self, memo):
        made = GpuTensor(self.inner.clone(), self.place).requires_grad_(self.requires_grad)
        if getattr(self, "_is_param", False):
            made._is_param = True
        return memo.setdefault(id(self), made)

    def __reduce_ex__(self, protocol):
        """As a CPU tensor, which is what a file gives back under map_location="cpu"."""
        return self.inner.detach().__reduce_ex__(protocol)

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.dim() == 0 else repr(self), spec)

    def __repr__(self, *, tensor_contents=None) -> str:
        return f"GpuTensor({self.inner}, device='{self.place}')"


class Rules:
    """What CUDA allows, and what it costs.

    Attributes:
        waits: how often the CPU had to wait for the GPU, by the operation that made it wait.
        copies: how often data went from the CPU's memory to the GPU's, by operation.
        places: both, by line of the program, `file:line operation`.
        current: number of the current GPU.
        explicit: the device that the running call asked for, if it named one.
        ambient: where a composite operator makes its temporaries: the device of the running call's tensors.
    """

    def __init__(self, count: int):
        self.count, self.current, self.process = count, 0, os.getpid()
        self.explicit: torch.device | None = None
        self.ambient = CPU
        self.reset()

    def reset(self) -> None:
        """Count anew."""
        self.waits: collections.Counter[str] = collections.Counter()
        self.copies: collections.Counter[str] = collections.Counter()
        self.places: collections.Counter[str] = collections.Counter()

    def wait(self, operation: str) -> None:
        """Count a synchronisation."""
        self.waits[operation] += 1
        self.places[f"{_caller()} {operation}"] += 1

    def copy(self, operation: str) -> None:
        """Count a copy from the CPU's memory to the GPU's."""
        self.copies[operation] += 1
        self.places[f"{_caller()} copy by {operation}"] += 1

    def place_of(self, device) -> torch.device:
        """A device with its number; `cuda` is the current one."""
        device = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
        if device.type != "cuda":
            return device
        self._check_process()
        number = self.current if device.index is None else device.index
        if number >= self.count:
            raise RuntimeError(f"CUDA error: invalid device ordinal ({device}, there are {self.count})")
        return torch.device("cuda", number)

    def _check_process(self) -> None:
        if os.getpid() != self.process:
            raise RuntimeError("Cannot re-initialize CUDA in forked subprocess.")

    # ------------------------------------------------------------------ from one memory to another

    def to(self, tensor: Tensor, *args, **kwargs) -> Tensor:
        """`tensor.to(...)` in all its forms."""
        if args and isinstance(args[0], Tensor):
            args = (args[0].device, args[0].dtype, *args[1:])
        copy = kwargs.pop("copy", False)
        device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args, **kwargs)
        moved = tensor if device is None else self.move(tensor, self.place_of(device), non_blocking)
        changes = {} if memory_format is None else {"memory_format": memory_format}
        if dtype is not None and dtype != moved.dtype:
            changes["dtype"] = dtype
        if not changes:
            return moved.clone() if copy and moved is tensor else moved
        with torch._C.DisableTorchFunction():
            return Tensor.to(moved, **changes)

    def move(self, tensor: Tensor, place: torch.device, non_blocking: bool = False) -> Tensor:
        """The tensor on another device, differentiably; itself if it is there."""
        if tensor.device == place:
            return tensor
        if place == CPU and non_blocking:
            raise RuntimeError("A copy to the CPU that nobody waits for is read before it is there (non_blocking).")
        if tensor.is_cuda:
            self.wait("cpu")
        else:
            self.copy("to")
        return _Move.apply(tensor, place)

    # ------------------------------------------------------------------ operators

    def dispatch(self, func, args, kwargs):
        """Carry out an operator of which at least one tensor is on a GPU."""
        self._check_process()
        tensors = list(tensors_in((args, kwargs)))
        ours = [t for t in tensors if isinstance(t, GpuTensor)]
        plain = [t for t in tensors if not isinstance(t, GpuTensor)]
        packet = func.overloadpacket
        if packet is aten.copy_:
            return self._copy(func, *args)
        place = ours[0].place
        if any(t.place != place for t in ours):
            raise mixed(func, ours)
        if plain:
            self._check_mixture(func, packet, args, ours + plain)
        self._count(packet, args)
        inner, inner_kwargs = map_tensors(GpuTensor, lambda t: t.inner, (args, kwargs))
        out = func(*inner, **inner_kwargs)
        if self.explicit == CPU:
            return out
        out = map_tensors(Tensor, lambda t: GpuTensor(t, place), out)
        return return_and_correct_aliasing(func, args, kwargs, out) if _aliases(func) else out

    def _copy(self, func, target: Tensor, source: Tensor, *rest):
        """In-place copy, which may cross devices."""
        if not isinstance(target, GpuTensor):
            self.wait("copy_")
        elif not isinstance(source, GpuTensor) and source.dim():
            self.copy("copy_")
        func(*(t.inner if isinstance(t, GpuTensor) else t for t in (target, source)), *rest)
        return target

    def _check_mixture(self, func, packet, args, tensors: list[Tensor]) -> None:
        if packet in INDEXING and isinstance(args[0], GpuTensor):
            self.copy("index")
            tensors = [args[0], *args[2:3]]  # not the indices
        written = _written(func, args)
        for tensor in (t for t in tensors if isinstance(t, Tensor) and not isinstance(t, GpuTensor)):
            scalar = tensor.dim() == 0 and tensor.device == CPU
            allowed = torch.Tag.pointwise in func.tags or packet in SCALARS_ALLOWED or packet in INDEXING
            if not (scalar and allowed) or any(tensor is w for w in written):
                raise mixed(func, tensors)

    def _count(self, packet, args) -> None:
        if packet in WAITS:
            self.wait(WAITS[packet])
        elif packet is aten.repeat_interleave and isinstance(args[0], Tensor) and len(args) == 1:
            self.wait("repeat_interleave")
        elif packet in INDEXING and any(t is not None and t.dtype in (torch.bool, torch.uint8) for t in args[1]):
            self.wait("index by a mask")


@functools.cache
def _aliases(func) -> bool:
    """True for an operator whose result may share memory with an argument: a view, or one that writes in place."""
    return any(value.alias_info for value in (*func._schema.returns, *func._schema.arguments))


def _written(func, args) -> list:
    """The arguments that an operator writes to."""
    declared = zip(func._schema.arguments, args, strict=False)
    return [value for argument, value in declared if argument.alias_info and argument.alias_info.is_write]


def mixed(func, tensors) -> RuntimeError:
    """CUDA's complaint."""
    devices = sorted({str(t.device) for t in tensors}, reverse=True)
    return RuntimeError(
        f"Expected all tensors to be on the same device, but found at least two devices, {' and '.join(devices)}! "
        f"(in {func})"
    )


def _caller() -> str:
    """`file:line` of the program, or else of the test, that is running."""
    frame, outer = sys._getframe(2), "elsewhere"
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if REPO in path.parents and "site-packages" not in path.parts:
            where = f"{path.relative_to(REPO)}:{frame.f_lineno}"
            if TESTS not in path.parents:
                return where
            outer = where if path not in OWN else outer
        frame = frame.f_back
    return outer


class _Move(torch.autograd.Function):
    """A copy on another device."""

    @staticmethod
    def forward(ctx, tensor, place):
        ctx.source = tensor.device
        inner = (tensor.inner if isinstance(tensor, GpuTensor) else tensor.detach()).clone()
        return inner if place == CPU else GpuTensor(inner, place)

    @staticmethod
    def backward(ctx, grad):
        return GpuTensor.rules.move(grad, ctx.source), None
