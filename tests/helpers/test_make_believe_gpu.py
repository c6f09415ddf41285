"""The make-believe GPU: it refuses what CUDA refuses, and else computes what the CPU computes."""

from __future__ import annotations

import copy
import io
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.checkpoint import checkpoint

from helpers.gpu_tensor import GpuTensor
from helpers.make_believe_gpu import make_believe
from simnl.fewshot.head import Head

TWO_DEVICES = "at least two devices, cuda:0 and cpu"
MIXED = {
    "add": lambda gpu, cpu: gpu + cpu,
    "reversed": lambda gpu, cpu: cpu * gpu,
    "matmul": lambda gpu, cpu: cpu @ gpu.T,
    "linear": lambda gpu, cpu: F.linear(gpu, cpu),
    "in place": lambda gpu, cpu: gpu.add_(cpu),
    "out": lambda gpu, cpu: torch.add(gpu, gpu, out=cpu),
    "in place on the CPU": lambda gpu, cpu: cpu.sum().add_(gpu.sum()),
    "cat": lambda gpu, cpu: torch.cat([gpu, cpu]),
    "stack of scalars": lambda gpu, cpu: torch.stack([gpu.sum(), cpu.sum()]),
    "labels": lambda gpu, cpu: F.cross_entropy(gpu, torch.zeros(len(gpu), dtype=torch.int64)),
    "gather": lambda gpu, cpu: gpu.gather(1, torch.zeros(3, 1, dtype=torch.int64)),
    "index_select": lambda gpu, cpu: gpu.index_select(0, torch.tensor([1])),
    "index_add": lambda gpu, cpu: gpu.index_add(0, torch.tensor([1], device="cuda"), cpu[:1]),
    "index of the GPU": lambda gpu, cpu: cpu[torch.tensor([1], device="cuda")],
    "values at an index": lambda gpu, cpu: gpu.__setitem__(torch.tensor([1], device="cuda"), cpu[:1]),
    "where": lambda gpu, cpu: torch.where(gpu > 0, gpu, cpu),
    "searchsorted": lambda gpu, cpu: torch.searchsorted(cpu[0], gpu),
    "einsum": lambda gpu, cpu: torch.einsum("ij,kj->ik", gpu, cpu),
}
ALLOWED = {
    "number": lambda gpu, cpu: gpu + 1.5,
    "scalar of the CPU": lambda gpu, cpu: gpu * cpu.sum(),
    "index of the CPU": lambda gpu, cpu: gpu[torch.tensor([2, 0])],
    "list": lambda gpu, cpu: gpu[:, [1, 0]],
    "mask": lambda gpu, cpu: gpu[gpu > 0],
    "copy across": lambda gpu, cpu: gpu.clone().copy_(cpu),
    "rows across": lambda gpu, cpu: _set(gpu.clone(), slice(0, 2), cpu[:2]),
    "one-hot": lambda gpu, cpu: F.one_hot((gpu > 0).long(), 3),
    "new": lambda gpu, cpu: gpu.new_ones(2),
    "like": lambda gpu, cpu: torch.zeros_like(gpu),
    "factory": lambda gpu, cpu: torch.arange(3, device=gpu.device),
    "from data": lambda gpu, cpu: torch.tensor([1.0, 2.0], device="cuda"),
    "attention": lambda gpu, cpu: F.scaled_dot_product_attention(gpu[None], gpu[None], gpu[None]),
    "solve": lambda gpu, cpu: torch.linalg.solve(torch.eye(4, device=gpu.device), gpu.T),
    "random": lambda gpu, cpu: F.dropout(gpu, 0.5),
}


def _set(target, key, value):
    target[key] = value
    return target


def pair(rows: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """The same numbers on the GPU and on the CPU."""
    cpu = torch.linspace(-1, 2, 4 * rows).view(rows, 4).sin()
    return cpu.cuda(), cpu


@pytest.mark.parametrize("case", MIXED)
def test_a_mixture_of_devices_is_refused(make_believe_gpu, case):
    with pytest.raises(RuntimeError, match=TWO_DEVICES):
        MIXED[case](*pair())


@pytest.mark.parametrize("case", ALLOWED)
def test_what_cuda_allows_gives_what_the_cpu_gives(make_believe_gpu, case):
    gpu, cpu = pair()
    torch.manual_seed(1)
    ours = ALLOWED[case](gpu, cpu)
    assert ours.device == torch.device("cuda:0")
    torch.manual_seed(1)
    theirs = ALLOWED[case](cpu, cpu)
    assert torch.equal(ours.cpu(), theirs.cpu())


def test_gpus_have_numbers():
    with make_believe(2):
        first, second = torch.ones(3, device="cuda"), torch.ones(3, device="cuda:1")
        assert torch.ones(3).to(second).device == second.device
        with pytest.raises(RuntimeError, match="cuda:1 and cuda:0"):
            first + second
        with pytest.raises(RuntimeError, match="invalid device ordinal"):
            torch.ones(3, device="cuda:2")
        torch.cuda.set_device(1)
        assert torch.ones(3).cuda().device.index == 1


def test_numpy_gets_nothing_from_the_gpu(make_believe_gpu):
    gpu, cpu = pair()
    for convert in (lambda t: t.numpy(), np.asarray, lambda t: np.stack([t, t])):
        with pytest.raises(TypeError, match=r"Tensor\.cpu\(\)"):
            convert(gpu)
    assert np.array_equal(gpu.cpu().numpy(), cpu.numpy())


def test_a_generator_belongs_to_a_device(make_believe_gpu):
    of_cpu, of_gpu = torch.Generator().manual_seed(3), torch.Generator("cuda").manual_seed(3)
    for draw in (
        lambda: torch.randn(3, generator=of_cpu, device="cuda"),
        lambda: torch.randperm(3, generator=of_gpu),
        lambda: torch.empty(3, device="cuda").normal_(generator=of_cpu),
        lambda: torch.empty(3).normal_(generator=of_gpu),
    ):
        with pytest.raises(RuntimeError, match="device type for generator"):
            draw()
    assert torch.equal(torch.randn(3, generator=of_gpu, device="cuda").cpu(), torch.randn(3, generator=of_cpu))


def test_a_copy_to_the_cpu_is_waited_for(make_believe_gpu):
    gpu, cpu = pair()
    with pytest.raises(RuntimeError, match="non_blocking"):
        gpu.to("cpu", non_blocking=True)
    assert cpu.to("cuda", non_blocking=True).is_cuda


def sum_on_the_gpu() -> float:
    return torch.ones(2).to("cuda").sum().item()


def test_a_forked_process_has_no_gpu(make_believe_gpu):
    """So the workers of a loader have none."""
    assert sum_on_the_gpu() == 2
    with ProcessPoolExecutor(1, get_context("fork")) as pool, pytest.raises(RuntimeError, match="forked subprocess"):
        pool.submit(sum_on_the_gpu).result()


def test_memory_is_shared_in_place_and_by_out(make_believe_gpu):
    gpu, _ = pair()
    view, buffer = gpu.view(4, 3), torch.empty(3, 4, device="cuda")
    assert gpu.mul_(2) is gpu
    assert torch.add(gpu, 1, out=buffer.view(3, 4)) is not buffer
    gpu[0] = 7
    view[3, 0] = -1
    assert torch.equal(view.cpu().view(3, 4), gpu.cpu())
    assert gpu[2, 1].item() == -1
    assert torch.equal(buffer[1:].cpu(), torch.linspace(-1, 2, 12).view(3, 4).sin()[1:] * 2 + 1)


class Squares(torch.autograd.Function):
    """x^2, by code that makes tensors in its backward pass."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.mul(x, x, out=torch.empty_like(x))

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return grad * x * torch.full((1,), 2.0, device=x.device)


def loss_of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    features = Squares.apply(checkpoint(model, x, use_reentrant=False))
    return F.cross_entropy(features, torch.arange(len(x), device=x.device) % 2)


@pytest.mark.parametrize("options", [{}, {"fused": True}, {"foreach": True}], ids=str)
def test_learning_is_that_of_the_cpu(make_believe_gpu, options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 2))
    twin, kept = copy.deepcopy(model), model[0].weight
    model.to("cuda")
    assert model[0].weight is kept  # as on a GPU: an optimiser made before still moves it
    assert isinstance(kept, nn.Parameter)
    for module, x in zip((model, twin), pair(), strict=True):
        optim = torch.optim.AdamW(module.parameters(), lr=0.1, **options)
        for _ in range(3):
            optim.zero_grad()
            loss_of(module, x).backward()
            optim.step()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert ours.is_cuda
        torch.testing.assert_close(ours.cpu(), theirs)
        torch.testing.assert_close(ours.grad.cpu(), theirs.grad)


def test_gradients_cross_devices(make_believe_gpu):
    leaf = torch.ones(3, requires_grad=True)
    (grad,) = torch.autograd.grad((leaf.cuda() * 3).sum().cpu() * 2, leaf)
    assert not isinstance(grad, GpuTensor)
    assert grad.tolist() == [6, 6, 6]


class WrongHead(Head):
    """Keeps its means where they came from, in no buffer."""

    def __init__(self, means):
        super().__init__()
        self.means = means

    def forward(self, features):
        return features @ self.means.T


def test_a_wrong_head_is_caught(make_believe_gpu):
    gpu, cpu = pair()
    with pytest.raises(RuntimeError, match=TWO_DEVICES):
        WrongHead(cpu).to("cuda")(gpu)
    right = Head()
    right.frozen_buffer("means", cpu)
    assert WrongHead.forward(right.to("cuda"), gpu).is_cuda


def test_autocast(make_believe_gpu):
    gpu, _ = pair()
    for dtype in (torch.bfloat16, torch.float16):
        with torch.autocast("cuda", dtype=dtype):
            assert (gpu @ gpu.T).dtype == dtype
    assert (gpu @ gpu.T).dtype == torch.float32


def test_files(make_believe_gpu, tmp_path):
    model = nn.Linear(4, 2).to("cuda")
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    state = torch.load(file, map_location="cpu", weights_only=True)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert torch.equal(state["weight"], load_file(tmp_path / "model.safetensors")["weight"])
    other = nn.Linear(4, 2).to("cuda")
    other.load_state_dict(state)
    assert torch.equal(other.weight, model.weight)
    assert copy.deepcopy(model).weight.is_cuda


def test_waits_and_copies_are_counted_with_their_place(make_believe_gpu):
    gpu, cpu = pair()
    make_believe_gpu.reset()
    float(gpu.sum())
    bool(gpu[0, 0] > 0)
    gpu.tolist()
    gpu.cpu()
    gpu[gpu > 0]
    gpu.nonzero()
    cpu[:2] = gpu[:2]
    assert make_believe_gpu.waits == {
        "item": 2, "tolist": 1, "cpu": 1, "index by a mask": 1, "nonzero": 1, "copy_": 1,
    }  # fmt: skip
    assert not make_believe_gpu.copies
    cpu.to("cuda")
    gpu[[0, 1]]
    assert make_believe_gpu.copies == {"to": 1, "index": 1}
    assert all("test_make_believe_gpu.py:" in place for place in make_believe_gpu.places)


def test_the_gpu_goes_and_leaves_nothing():
    before = torch.autocast, torch.Generator, torch.cuda.is_available, nn.Module._apply
    with make_believe() as gpu:
        assert torch.cuda.is_available()
        assert gpu.count == torch.cuda.device_count() == 1
        x = torch.ones(3, device="cuda")
    assert before == (torch.autocast, torch.Generator, torch.cuda.is_available, nn.Module._apply)
    assert not torch.__future__.get_swap_module_params_on_conversion()
    with pytest.raises(RuntimeError, match="after the GPU has gone"):
        x + 1
