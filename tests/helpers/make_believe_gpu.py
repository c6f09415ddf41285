"""A GPU that is not there: finds mix-ups of devices on machines without one.

    def test_it(make_believe_gpu):          # the fixture; or `with make_believe() as gpu:`
        head = Head(...).to("cuda")
        head(features.cuda())               # computes, on the CPU
        head(features)                      # RuntimeError, as on a GPU
        print(make_believe_gpu.waits)       # how often the CPU had to wait: item, cpu, nonzero, ...

It refuses: an operator on tensors of several devices (0-dim tensors and indices of the CPU aside, as CUDA does);
`.numpy()` and numpy functions on a tensor of the GPU; a random generator of another device than the tensor that it
fills; a GPU with a number that is not there; a GPU in a forked process; and, stricter than CUDA, a copy to the CPU
with non_blocking, which is read before it is there. Random numbers are those of the CPU's generator, and arithmetic is
the CPU's, so a run gives what it gives on the CPU.

It cannot show: CUDA's kernels (rounding, limits of dtypes and shapes, operators without a kernel, nondeterminism), real
memory and streams, pinned memory, autocast's lists of operators (those of the CPU are used), fused attention,
torch.compile, NCCL; nor what a child process or a C extension does with tensors of its own. `torch.load` gives CPU
tensors whatever `map_location` is.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from unittest import mock

import torch
import torch._dynamo  # torch loads it on first use, and must not find the stand-ins then
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from helpers.gpu_tensor import CPU, GpuTensor, Rules, map_tensors, tensors_in

FROM_DATA = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
AUTOCAST = torch.autocast
GENERATOR = torch.Generator
RNG_STATE = 16  # bytes of a CUDA generator's state


class _Api(TorchFunctionMode):
    """Carries out calls of torch's Python functions that name a GPU, or whose tensors are on one."""

    def __init__(self, rules: Rules):
        super().__init__()
        self.rules = rules

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is Tensor.to:
            return self.rules.to(*args, **kwargs)
        if func is Tensor.cuda:
            device = args[1] if len(args) > 1 else kwargs.get("device")
            return self.rules.move(args[0], self.rules.place_of("cuda" if device is None else device))
        if func is Tensor.pin_memory:
            return args[0]
        if func is Tensor.backward:
            return self._backward(*args, **kwargs)
        if func is torch.as_tensor and isinstance(args[0], Tensor):
            return self.rules.to(*args, **kwargs)
        return self._call(func, args, kwargs)

    def _backward(self, tensor, gradient=None, retain_graph=None, create_graph=False, inputs=None):
        with self:  # a backward pass runs Python code too: of autograd functions, of checkpointed parts
            torch.autograd.backward(tensor, gradient, retain_graph, create_graph, inputs=inputs)

    def _call(self, func, args, kwargs):
        rules, device = self.rules, kwargs.get("device")
        ours = [t for t in tensors_in((args, kwargs)) if isinstance(t, GpuTensor)]
        place = None if device is None else rules.place_of(device)
        ambient = place or (ours[0].place if ours else CPU)
        _check_generator(kwargs.get("generator"), ambient)
        if place is None and not ours:
            return func(*args, **kwargs)
        if place is not None and place.type == "cuda":
            kwargs = {**kwargs, "device": CPU}
            if func in FROM_DATA:
                rules.copy(func.__name__)
        before = rules.explicit, rules.ambient
        rules.explicit, rules.ambient = place, ambient
        try:
            out = func(*args, **kwargs)
        finally:
            rules.explicit, rules.ambient = before
        return out if place is None or place == CPU else map_tensors(Tensor, functools.partial(_on, place), out)


def _on(place: torch.device, tensor: Tensor) -> Tensor:
    if isinstance(tensor, GpuTensor):
        return tensor
    return GpuTensor(tensor.detach(), place).requires_grad_(tensor.requires_grad)


def _check_generator(generator: torch.Generator | None, place: torch.device) -> None:
    if generator is not None and generator.device.type != place.type:
        raise RuntimeError(f"Expected a '{place.type}' device type for generator but found '{generator.device.type}'")


class _Kernels(TorchDispatchMode):
    """Puts what composite operators make for themselves on the GPU, and refuses mixtures in which the CPU leads."""

    def __init__(self, rules: Rules):
        super().__init__()
        self.rules = rules

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, rules = kwargs or {}, self.rules
        tensors = list(tensors_in((args, kwargs)))
        if any(isinstance(t, GpuTensor) for t in tensors):
            return rules.dispatch(func, args, kwargs)
        out = func(*args, **kwargs)
        if tensors or rules.ambient == CPU:
            return out
        return map_tensors(Tensor, functools.partial(_on, rules.ambient), out)


class _Generator(GENERATOR):
    """torch.Generator, which may be asked for on a GPU."""

    def __new__(cls, device="cpu"):
        made = super().__new__(cls, "cpu")
        made.place = GpuTensor.rules.place_of(device) if GpuTensor.rules else torch.device(device)
        return made

    device = property(lambda self: self.place)


def _autocast(device_type: str, *args, **kwargs):
    return AUTOCAST("cpu" if device_type == "cuda" else device_type, *args, **kwargs)


def _apply(original, module: nn.Module, *args, **kwargs):
    """Module.to and its like must keep the identity of parameters, as they do on a GPU."""
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        return original(module, *args, **kwargs)
    finally:
        torch.__future__.set_swap_module_params_on_conversion(before)


def _cuda_functions(rules: Rules, memory: int) -> dict[str, object]:
    """What stands in for functions of torch.cuda."""

    def nothing(*args, **kwargs):
        return None

    def set_device(device):
        rules.current = rules.place_of(device).index

    def state(device="cuda"):
        rules.place_of(device)
        return torch.zeros(RNG_STATE, dtype=torch.uint8)

    used = memory // 8
    numbers = {"memory_allocated": used, "max_memory_allocated": 2 * used, "memory_reserved": used}
    return {
        **dict.fromkeys(("_lazy_init", "synchronize", "manual_seed", "manual_seed_all", "empty_cache"), nothing),
        **dict.fromkeys(("reset_peak_memory_stats", "set_rng_state", "set_rng_state_all"), nothing),
        **{name: lambda device=None, number=number: number for name, number in numbers.items()},
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "is_current_stream_capturing": lambda: False,
        "device_count": lambda: rules.count,
        "current_device": lambda: rules.current,
        "get_device_name": lambda device=None: "make-believe GPU",
        "mem_get_info": lambda device=None: (memory - used, memory),
        "set_device": set_device,
        "device": lambda device: contextlib.nullcontext(),
        "get_rng_state": state,
        "get_rng_state_all": lambda: [state(n) for n in range(rules.count)],
    }


@contextlib.contextmanager
def make_believe(count: int = 1, memory: int = 8 * 2**30) -> Iterator[Rules]:
    """For a while, `count` GPUs of `memory` bytes are there. Gives the counts of synchronisations and copies."""
    rules, original, unpinned = Rules(count), nn.Module._apply, DataLoader.__init__
    patches = {
        "torch.autocast": _autocast,
        "torch.amp.autocast": _autocast,
        "torch.Generator": _Generator,
        "torch.autograd.has_torch_function": lambda tensors: False,  # so that the mode stays on in backward passes
        "torch.accelerator.current_stream": lambda device=None: mock.Mock(is_capturing=lambda: False),
        "torch.nn.Module._apply": lambda self, *args, **kwargs: _apply(original, self, *args, **kwargs),
        "torch.utils.data.DataLoader.__init__": lambda self, *args, **kwargs: unpinned(
            self, *args, **{**kwargs, "pin_memory": False}
        ),
    }
    with contextlib.ExitStack() as stack:
        for name, stand_in in patches.items():
            stack.enter_context(mock.patch(name, stand_in))
        for name, stand_in in _cuda_functions(rules, memory).items():
            stack.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        stack.enter_context(mock.patch.object(GpuTensor, "rules", rules))
        stack.enter_context(_Kernels(rules))
        stack.enter_context(_Api(rules))
        yield rules
