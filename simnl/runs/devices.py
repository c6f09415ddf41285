"""The devices that runs use: what DEVICE and --gpus mean on this machine and on the machines of a cluster.

CUDA_VISIBLE_DEVICES has to be set before CUDA is first used in a process, because it is read then.
"""

from __future__ import annotations

import os
import re

from simnl.escaping import shortened

VISIBLE = "CUDA_VISIBLE_DEVICES"


def split_device(device: str) -> tuple[str, str]:
    """Split `auto`, `cpu`, `cuda` or `cuda:N` into name and number; the number may be empty.

    Raises:
        ValueError: the text is none of these.
    """
    name, _, number = device.partition(":")
    if name not in ("auto", "cpu", "cuda") or (number and (name != "cuda" or not re.fullmatch("[0-9]{1,4}", number))):
        raise ValueError(f"Unknown device '{shortened(device)}'. Use auto, cpu, cuda or cuda:N.")
    return name, number


def pick_device(device: str) -> bool:
    """True to use CUDA. `auto` takes a GPU if there is one; `cuda:N` hides all visible GPUs but the N-th.

    Raises:
        ValueError: the word is unknown, or there is no such visible GPU. RuntimeError: CUDA is asked for but missing.
    """
    name, number = split_device(device)
    if number:
        _show_only(int(number))
    if name == "cpu":
        return False
    import torch  # after CUDA_VISIBLE_DEVICES is set

    if torch.cuda.is_available():
        return True
    if name == "cuda":
        raise RuntimeError(f"DEVICE is '{device}', but PyTorch {torch.__version__} sees no GPU. Use DEVICE=cpu.")
    return False


def _show_only(number: int) -> None:
    """Hide all GPUs except the one at this place among those that the process may see."""
    given = os.environ.get(VISIBLE)
    names = [str(number)] if given is None else [name.strip() for name in given.split(",") if name.strip()][number:]
    if not names:
        raise ValueError(f"DEVICE is 'cuda:{number}', but {VISIBLE} is '{given}'. The number counts its GPUs, from 0.")
    os.environ[VISIBLE] = names[0]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, each as CUDA_VISIBLE_DEVICES names it."""
    import torch

    count, given = torch.cuda.device_count(), os.environ.get(VISIBLE)
    names = map(str, range(count)) if given is None else (name.strip() for name in given.split(","))
    return list(names)[:count]


def devices_of(executor: str, jobs: int, gpus: int, device: str) -> tuple[bool, tuple[str, ...]]:
    """The devices of a matrix of runs.

    Args:
        executor: `local`, or `slurm` for a cluster, whose machines may have other GPUs than this one.
        jobs, gpus: the numbers of processes without and with a GPU of their own, as typed; 1 and 0 for this process.
        device: the value of DEVICE.

    Returns:
        True to use CUDA, and on this machine the GPU of each process (`visible_gpus`), which is empty without --gpus.

    Raises:
        ValueError: the arguments contradict each other, or there are fewer GPUs. RuntimeError: as in `pick_device`.
    """
    name, number = split_device(device)
    if gpus and name == "cpu":
        raise ValueError(f"DEVICE is cpu, but --gpus {gpus} asks for GPUs. Leave one of them out.")
    if name == "cuda" and not gpus and (executor == "slurm" or jobs > 1):
        raise ValueError(f"DEVICE is '{device}', but not how many processes get a GPU. Add --gpus N.")
    if executor == "slurm":
        if number:
            raise ValueError(f"DEVICE is '{device}', but SLURM chooses the GPU of a job. Use DEVICE=cuda.")
        return gpus > 0, ()
    if not gpus:
        return (pick_device(device) if jobs == 1 else False), ()
    if number:
        pick_device(device)
    found = visible_gpus()
    if gpus > len(found):
        seen = f"{VISIBLE} is '{os.environ[VISIBLE]}'" if VISIBLE in os.environ else f"{VISIBLE} is not set"
        raise ValueError(f"--gpus is {gpus}, but PyTorch sees {len(found)} GPUs ({seen}). Use fewer, or --jobs N.")
    return True, tuple(found[:gpus])
