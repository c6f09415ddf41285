"""Freezing, counting, initialising and loading parameters."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import nn

from dassl._lazy import lazy

from .checkpoint import load_checkpoint, resume_from_checkpoint, save_checkpoint

# What upstream's module imports itself, and plugins import from it.
LAZY = {
    "OrderedDict": "collections:OrderedDict",
    "mkdir_if_missing": "dassl.utils.tools:mkdir_if_missing",
    "osp": "os.path",
    "partial": "functools:partial",
    "pickle": "pickle",
    "shutil": "shutil",
}
__all__ = [
    "adjust_learning_rate",
    "count_num_param",
    "init_network_weights",
    "load_checkpoint",
    "load_pretrained_weights",
    "open_all_layers",
    "open_specified_layers",
    "resume_from_checkpoint",
    "save_checkpoint",
    "set_bn_to_eval",
]

__getattr__ = lazy(__name__, LAZY)

INITIALISERS = ("normal", "xavier", "kaiming", "orthogonal")


def adjust_learning_rate(
    optimizer: torch.optim.Optimizer,
    base_lr: float,
    epoch: int,
    stepsize: int = 20,
    gamma: float = 0.1,
    linear_decay: bool = False,
    final_lr: float = 0,
    max_epoch: int = 100,
) -> None:
    """Set the rate of all parameter groups to that of an epoch, counted from 0.

    It is `base_lr * gamma ** (epoch // stepsize)`; with `linear_decay`, on the line from `base_lr` in epoch 0 to
    `final_lr` in epoch `max_epoch`.
    """
    if linear_decay:
        done = epoch / max_epoch
        lr = (1 - done) * base_lr + done * final_lr
    else:
        lr = base_lr * gamma ** (epoch // stepsize)
    for group in optimizer.param_groups:
        group["lr"] = lr


def set_bn_to_eval(m: nn.Module) -> None:
    """Set a module to evaluation mode if it is a batch norm; for `model.apply`."""
    if "BatchNorm" in type(m).__name__:
        m.eval()


def open_all_layers(model: nn.Module) -> None:
    """Train all parameters of a model, and set it to training mode."""
    model.train()
    for param in model.parameters():
        param.requires_grad = True


def open_specified_layers(model: nn.Module, open_layers: str | Iterable[str]) -> None:
    """Train the named child modules only; the others are frozen and set to evaluation mode.

    Raises:
        ValueError: a name is none of the model's children.
    """
    if isinstance(model, nn.DataParallel):
        model = model.module
    names = {open_layers} if isinstance(open_layers, str) else set(open_layers)
    children = dict(model.named_children())
    if unknown := sorted(names - set(children)):
        raise ValueError(f"{unknown} are not children of {type(model).__name__}, which has {sorted(children)}")
    for name, child in children.items():
        child.train(name in names)
        for param in child.parameters():
            param.requires_grad = name in names


def count_num_param(model: nn.Module | None = None, params: Iterable | None = None) -> int:
    """Number of scalars in a model's parameters, or in `params` (tensors, or optimiser groups of them).

    Raises:
        ValueError: neither or both are given.
    """
    if model is not None and params is None:
        return sum(p.numel() for p in model.parameters())
    if model is not None or params is None:
        raise ValueError("Give one of model and params")
    tensors = (t for item in params for t in (item["params"] if isinstance(item, dict) else [item]))
    return sum(t.numel() for t in tensors)


def init_network_weights(model: nn.Module, init_type: str = "normal", gain: float = 0.02) -> None:
    """Initialise convolutions, linear layers, and batch and instance norms in place.

    Args:
        model: any module.
        init_type: `normal` (std `gain`), `xavier`, `kaiming` or `orthogonal`; for weights. Biases get 0.
        gain: scale; norm weights are drawn from N(1, gain).

    Raises:
        ValueError: unknown `init_type`.
    """
    if init_type not in INITIALISERS:
        raise ValueError(f"init_type '{init_type}' is unknown. Choose one of {', '.join(INITIALISERS)}")
    norms = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
    for module in model.modules():
        if isinstance(module, norms):
            if module.affine:
                nn.init.normal_(module.weight, 1.0, gain)
                nn.init.zeros_(module.bias)
        elif isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            _init_weight(module.weight, init_type, gain)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _init_weight(weight: torch.Tensor, init_type: str, gain: float) -> None:
    if init_type == "normal":
        nn.init.normal_(weight, 0.0, gain)
    elif init_type == "xavier":
        nn.init.xavier_normal_(weight, gain=gain)
    elif init_type == "kaiming":
        nn.init.kaiming_normal_(weight, a=0, mode="fan_in")
    else:
        nn.init.orthogonal_(weight, gain=gain)


def load_pretrained_weights(model: nn.Module, weight_path: str) -> None:
    """Load those parameters and buffers of a file whose name and shape the model has.

    The file holds a state dict, or a checkpoint with one under `state_dict`; a prefix `module.` is ignored.
    Names that were left out are printed; a warning says so if nothing fits.
    """
    checkpoint = load_checkpoint(weight_path)
    state_dict = checkpoint.get("state_dict", checkpoint)
    ours = model.state_dict()
    matched, discarded = {}, []
    for name, value in state_dict.items():
        name = name.removeprefix("module.")
        if name in ours and ours[name].shape == value.shape:
            matched[name] = value
        else:
            discarded.append(name)
    if not matched:
        warnings.warn(
            f"Cannot load {weight_path}: none of its layers has the name and shape of one in the model",
            stacklevel=2,
        )
        return
    model.load_state_dict({**ours, **matched})
    print(f"Successfully loaded pretrained weights from {weight_path}")
    if discarded:
        print(f"Layers discarded due to unmatched keys or size: {discarded}")
