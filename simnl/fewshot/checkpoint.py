"""Save and load what a head learned: its safetensors file, and the engine's checkpoints, from which a run resumes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from dassl.utils import load_checkpoint
from simnl.fewshot.head import SearchableHead
from simnl.sealed import ABOUT, WRONG_SUM, parse_json, tensors_checksum, write_tensors
from simnl.sealed import KEY as SEAL

log = logging.getLogger(__name__)

HEAD = "head.safetensors"  # the deployed head, in the folder of its run
MODEL = "head"  # the name of the head in the engine, and of the folder with its checkpoints
DEPLOYED = "deployed/"  # prefix of the names of frozen tensors that a prediction needs
LEARNED = "learned"  # key of the description: False if the learned tensors are left out
RETRAIN = "Delete it and train again."
DAMAGE = (SafetensorError, ValueError, TypeError, RuntimeError)  # the errors that reading a broken file can raise


def save_head(path: Path, head: nn.Module, about: dict) -> None:
    """Save a head's state dict with a json description (class names, hyper-parameters, ...) and a check sum over both.

    Raises:
        OSError: the file cannot be written; see `simnl.sealed.write_tensors`.
    """
    write_tensors(path, head.state_dict(), about)


def load_head(path: Path) -> tuple[dict[str, Tensor], dict]:
    """What a head learned, from a file of `save_head` or `simnl.fewshot.head_file.save`: state dict and description.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or of another kind.
    """
    tensors, about = read_tensors(path)
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(DEPLOYED)}, about


def read_tensors(path: Path, advice: str = RETRAIN) -> tuple[dict[str, Tensor], dict]:
    """Read a file that `write_tensors` wrote: all tensors by name, and the description.

    `advice` is the last sentence of messages; it says what to do about a file that is damaged or of another kind.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no trained head at {path}. Train, or point --model-dir at a finished run.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        about = parse_json(metadata[ABOUT].encode(), path)
        if not isinstance(about, dict):
            raise ValueError(f"its {ABOUT} is not a json object")
        if set(metadata) == {ABOUT}:
            log.warning("%s is of an earlier version and has no check sum, so damage in it cannot be found.", path)
        elif set(metadata) != {ABOUT, SEAL} or metadata[SEAL] != tensors_checksum(tensors, metadata[ABOUT]):
            raise ValueError(WRONG_SUM)
    except KeyError as error:
        raise ValueError(f"{path} is not a trained head of this program: it has no {error}. {advice}") from error
    except DAMAGE as error:
        raise ValueError(f"{path} is not a trained head of this program, or is damaged ({error}). {advice}") from error
    return tensors, about


def restore_head(path: Path, head: nn.Module, about: dict) -> dict:
    """Load what a head learned into another head, if it fits, and return the description.

    Args:
        about: the description of this run; all but the hyper-parameters must be equal.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another method or of other classes.
    """
    state, found = load_head(path)
    for key, ours in about.items():
        if key != "hparams" and found.get(key) != ours:
            raise ValueError(f"{path} does not fit this run: its {key} is {found.get(key)}, but this run has {ours}.")
    if found.get(LEARNED) is False:
        raise ValueError(
            f"{path} holds what a prediction needs, but not what the method learned. Point --model-dir at the run's "
            "folder."
        )
    _load(path, state, head)
    return found


def _load(path: Path, state: dict[str, Tensor], head: nn.Module) -> None:
    try:
        head.load_state_dict(state)
    except RuntimeError as error:  # PyTorch's list of names or shapes, one per line
        raise ValueError(f"{path} does not fit this run: {' '.join(str(error).split())}") from error


def epoch_file(folder: str | Path, epoch: int) -> Path:
    """The engine's checkpoint of an epoch, which counts from 1, in the folder of a run."""
    return Path(folder) / MODEL / f"model.pth.tar-{epoch}"


def load_trained(folder: str | Path, head: nn.Module, about: dict, epoch: int | None = None) -> None:
    """Load what a run has learned into a head: its deployed head, or the engine's checkpoint of an epoch.

    A head that learns nothing and has nothing to search stays as it is.

    Args:
        folder: the folder of the run.
        head: the module that gets the parameters.
        about: the description of this run, see `restore_head`.
        epoch: the epoch, from 1; None and 0 stand for the deployed head.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, of another method or of other classes. The checkpoint of an epoch names neither
            of the two, so that only the names and shapes of its tensors are compared.
    """
    if not (head.state_dict() or isinstance(head, SearchableHead)):
        log.info("%s learns nothing, so there is nothing to load.", about["method"])
    elif epoch:
        file = epoch_file(folder, epoch)
        _load(file, load_checkpoint(str(file))["state_dict"], head)
    else:
        found = restore_head(Path(folder) / HEAD, head, about)
        if isinstance(head, SearchableHead):
            head.hparams.update(found["hparams"])


@contextmanager
def resuming(folder: str | Path) -> Iterator[None]:
    """If a run in `folder` cannot resume from its checkpoints, say which ones to delete.

    Raises:
        ValueError: a checkpoint is damaged. It replaces the error that was raised when the checkpoint was read.
    """
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{error} To train from the start, delete {Path(folder) / MODEL} and run again.") from error
