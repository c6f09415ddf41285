"""Learned parameters on disk: safetensors, written atomically, with what is needed to use them."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from simnl.files import replacing


def save_head(path: Path, head: nn.Module, about: dict) -> None:
    """Save a head's state dict with a json description (class names, hyper-parameters, ...).

    Raises:
        OSError: it cannot be written, e.g. for want of space; the message names the file.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in head.state_dict().items()}
    try:
        with replacing(path) as temporary:
            save_file(state, temporary, metadata={"about": json.dumps(about)})
    except SafetensorError as error:  # what safetensors makes of the system's errors
        raise OSError(f"{path} cannot be written ({error}).") from error


def load_head(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Read what `save_head` wrote: the state dict and the description.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a file of `save_head`, or damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No trained head at {path}. Train first, or point --model-dir at a finished run.")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["about"])
            return {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118 - not a dict
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no trained head of this program, or is damaged ({error}). Train again.") from error


def restore_head(path: Path, head: nn.Module, about: dict) -> dict:
    """Load what `save_head` wrote into a head, if it fits; returns the description.

    Args:
        about: the description of this run; all but the hyper-parameters must be equal.

    Raises:
        FileNotFoundError: no such file; ValueError: damaged, another method's, or of other classes.
    """
    state, found = load_head(path)
    for key, ours in about.items():
        if key != "hparams" and found.get(key) != ours:
            raise ValueError(f"{path} does not fit this run: its {key} is {found.get(key)}, here it is {ours}.")
    try:
        head.load_state_dict(state)
    except RuntimeError as error:  # names or shapes, one per line
        raise ValueError(f"{path} does not fit this run: {' '.join(str(error).split())}") from error
    return found
