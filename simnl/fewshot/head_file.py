"""A head in one file, which holds all that a prediction needs. Loading it reads no other file of the run.

The file is safetensors with a check sum (`simnl.fewshot.checkpoint`). Its tensors are those that the method learned, by
the names of the trained head's state dict, and under `deployed/` those that make the head for predictions
(`Head.deployed`, `simnl.clip.recipe`). Its description is json: a `HeadDescription`, the recipe, and the version of the
format.

    version 1: it holds what was learned and no more, which is enough for `--eval-only`, but not for a prediction
    version 2: it is complete
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.model import FrozenCLIP
from simnl.clip.recipe import ARGUMENTS, MADE, NotRebuildable, name_of, named, packed, rebuilt
from simnl.escaping import shortened
from simnl.fewshot.checkpoint import DEPLOYED, LEARNED, read_tensors, save_head
from simnl.fewshot.checkpoint import HEAD as FILE
from simnl.fewshot.description import HeadDescription, describe
from simnl.fewshot.encoder import clip_of
from simnl.fewshot.head import Head, SearchableHead
from simnl.fewshot.loaded_head import LoadedHead
from simnl.plugins import load_plugins
from simnl.sealed import write_tensors

log = logging.getLogger(__name__)

FORMAT, VERSION = "simnl-head", 2
STATE = f"{DEPLOYED}state/"  # learned parameters of a deployed head that is not the trained head itself
RECIPE, DTYPES = "recipe", "dtypes"
GIVE = "Give the head.safetensors of a finished run, or the run's folder."
AGAIN = "Run the command that trained it again, in a new folder."
BROKEN = (LookupError, TypeError, ValueError, AttributeError, RuntimeError)  # the errors that a wrong recipe raises


# ---------------------------------------------------------------------- writing


def save(path: Path, head: Head, about: HeadDescription, *, half: bool = False) -> None:
    """Write a complete head file.

    Args:
        path: the file. An existing file is replaced.
        head: the trained head.
        about: the description of the head.
        half: True to store frozen tensors in float16, and to leave out learned tensors that a prediction does not need.
            A loaded head still computes in float32, from the rounded numbers.

    Raises:
        OSError: the file cannot be written.
        NotRebuildable: the head was made from something that a file cannot hold; see `simnl.clip.recipe`.
    """
    _write(path, head, about, half=half, trained=True)


def _write(path: Path, head: Head, about: HeadDescription, *, half: bool, trained: bool) -> None:
    """Write a head file. `trained` is False for a deployed head, whose trained head is not available any more."""
    deployed = head.deployed()
    own = deployed is head
    learned = {} if half and not own else {name: value.cpu() for name, value in head.state_dict().items()}
    tensors = dict(learned)
    state = {name: named(value, tensors, STATE + name) for name, value in deployed.state_dict().items()}
    before = set(tensors)
    arguments = {key: packed(value, tensors, DEPLOYED + key) for key, value in deployed.arguments().items()}
    frozen = {name: value for name, value in tensors.items() if name not in before}
    dtypes = {name: str(value.dtype).removeprefix("torch.") for name, value in frozen.items()}
    if half:
        tensors |= {name: value.half() for name, value in frozen.items() if _bears_half(value)}
    made = {MADE: name_of(type(deployed)), ARGUMENTS: arguments}
    hparams = deployed.hparams if isinstance(deployed, SearchableHead) else {}
    recipe = {**made, "state": state, DTYPES: dtypes, "hparams": hparams}
    content = {
        "format": FORMAT,
        "version": VERSION,
        **about.to_json(),
        LEARNED: trained and (own or not half),
        RECIPE: recipe,
    }
    write_tensors(path, tensors, content)


def _bears_half(value: Tensor) -> bool:
    """Whether a tensor may be stored in float16; not whole numbers, vectors (biases may be large) and overflows."""
    return value.is_floating_point() and value.ndim > 1 and bool(value.half().isfinite().all())


def halve(path: str | Path, to: Path, *, weights: str = "") -> tuple[int, int]:
    """Write a smaller copy of a head file; see `save`. Returns the sizes of both in bytes.

    Args:
        path: the head file, or the folder of a run.
        to: the copy.
        weights: see `load`.

    Raises:
        ValueError: `to` is the file itself.
        FileNotFoundError, OSError, NotRebuildable: see `load` and `save`.
    """
    file = file_of(path)
    if to.exists() and to.samefile(file):
        raise ValueError(
            f"{to} is the head file itself, and float16 would lose digits for good. Give the copy a new name."
        )
    loaded = load(file, weights=weights)
    tensors, content = read_tensors(file, GIVE)
    learned = {name for name in tensors if not name.startswith(DEPLOYED)}
    whole = content[LEARNED] and learned <= set(content[RECIPE]["state"].values())
    _write(to, loaded.head, loaded.about, half=True, trained=whole)
    return file.stat().st_size, to.stat().st_size


def save_trained(folder: Path, trainer) -> None:
    """Write what a trainer (a `VLTrainer`) has trained to `folder`/head.safetensors.

    If a head cannot be stored completely, only what it learned is written, with a warning. The run goes on, and its
    head can be tested.
    """
    about = describe(trainer)
    try:
        save(folder / FILE, trainer.head, about)
    except NotRebuildable as error:
        log.warning("%s holds only what was learned, so it cannot be used for predictions: %s", folder / FILE, error)
        save_head(folder / FILE, trainer.head, about.to_json())


# ---------------------------------------------------------------------- reading


def load(
    path: str | Path, *, clip: FrozenCLIP | None = None, weights: str = "", device: str | torch.device = "cpu"
) -> LoadedHead:
    """Load a head from a file of `save`; no image, data set, config or trainer is needed.

    Args:
        path: the file, or the folder of a run.
        clip: the frozen CLIP if it is loaded already; only a head that contains a tower uses it.
        weights: a tag or a path of the same weights, if they are not at the place that the file names.
        device: the device of the head.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is of another kind, of an earlier or later format, damaged or edited, or of a method that
            is not registered; or the weights have another fingerprint.
    """
    file = file_of(path)
    tensors, content = read_tensors(file, GIVE)
    about = _description(file, content)

    def towers() -> FrozenCLIP:
        return clip_of(about.backbone, clip, weights, str(device), where=str(file))

    head = _rebuilt(file, content[RECIPE], tensors, towers, about).to(device).eval().requires_grad_(False)
    return LoadedHead(head, about, file, torch.device(device))


def file_of(path: str | Path) -> Path:
    """The head file at a path, or in the folder of a run at that path.

    Raises:
        FileNotFoundError: there is no head file.
    """
    given = Path(path)
    file = given / FILE if given.is_dir() else given
    if not file.is_file():
        raise FileNotFoundError(f"There is no head file {file}. {GIVE}")
    return file


def _description(file: Path, content: dict[str, Any]) -> HeadDescription:
    found, version = content.get("format"), content.get("version")
    if found is None and "classnames" in content:
        raise ValueError(
            f"{file} holds what {content.get('method')} learned, as files of earlier releases do, but not the frozen "
            f"tensors (text classifiers, cache keys) that a prediction needs too. {AGAIN}"
        )
    if found != FORMAT:
        what = "no format" if found is None else f"the format '{shortened(str(found))}'"
        raise ValueError(f"{file} has {what}, but a head for predictions has '{FORMAT}'. {GIVE}")
    if type(version) is not int or version > VERSION:
        raise ValueError(
            f"{file} has version {shortened(str(version))} of the format, and this release reads versions up to "
            f"{VERSION}. Install release {shortened(str(content.get('package_version')))}, which wrote it, or a later "
            "one."
        )
    try:
        about = HeadDescription.from_json(content)
    except BROKEN as error:
        raise ValueError(f"{file} has an incomplete description ({error}). {AGAIN}") from error
    load_plugins()
    known = TRAINER_REGISTRY.registered_names()
    if about.method not in known:
        raise ValueError(
            f"{file} is a head of the method '{shortened(about.method)}', which is not registered here. Put its module "
            f"into trainers/, or install its plugin. Registered: {', '.join(sorted(known))}."
        )
    return about


def _rebuilt(file: Path, recipe: dict, tensors: dict[str, Tensor], towers, about: HeadDescription) -> Head:
    """The head of a recipe. Errors of the towers are raised unchanged; others mean that the file does not fit."""
    failed: list[BaseException] = []

    def clip() -> FrozenCLIP:
        try:
            return towers()
        except Exception as error:
            failed.append(error)
            raise

    try:
        dtypes = {name: getattr(torch, dtype) for name, dtype in recipe[DTYPES].items()}
        wide = {name: value.to(dtypes[name]) if name in dtypes else value for name, value in tensors.items()}
        head = rebuilt({MADE: recipe[MADE], ARGUMENTS: recipe[ARGUMENTS]}, wide, clip)
        if not isinstance(head, Head):
            raise TypeError(f"{recipe[MADE]} is not a head")
        head.load_state_dict({name: tensors[stored] for name, stored in recipe["state"].items()})
        if isinstance(head, SearchableHead):
            head.hparams.update(recipe["hparams"])
    except BROKEN as error:
        if failed:
            raise
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{file} does not fit {about.method} of this release: {shortened(reason)} ({type(error).__name__}). It was "
            f"written by release {about.package_version or 'unknown'}. {AGAIN}"
        ) from error
    return head
