"""CLIPN's second text tower, which says how surely an image does *not* show a class: read from a file, and put in the
place of a frozen text tower.

The file holds a text tower of the size of the backbone's, under open_clip's names with `_no` behind the first part
(`ln_final_no.bias`), and `prompt_no`, (16, L, W): offsets of the L positions of a text of width W. Their mean over the
16 is added to the sum of token and positional embedding before the first block, so here it becomes a part of the
positional embedding. docs/ood.md says how all of this is known, and what is assumed.

Source: Wang et al., "CLIPN for Zero-Shot OOD Detection: Teaching CLIP to Say No", ICCV 2023, arXiv:2308.12213.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from simnl.clip.architectures import CLIP_TEXT, captions, text_tower
from simnl.clip.model import FrozenCLIP, fingerprint
from simnl.clip.weights import Checkpoint, Shapes, misfit, open_checkpoint, shapes_of

OFFSETS, NUM_OFFSETS = "prompt_no", 16
POSITIONS = "positional_embedding"
OTHER_PARTS = ("visual.", "logit_")  # of a model, beside the text tower
RTOL, ATOL = 2**-10, 2**-20  # tensors that went through half precision count as equal
WANTED = "Set CLIPN to a checkpoint of the authors' training, or to a safetensors file of its tensors."


@dataclass(frozen=True)
class NoTower:
    """The text towers of a file.

    Attributes:
        path: the file.
        tensors: float32, of the second tower, under the names of an ordinary one; the positional embedding contains the
            mean offset.
        yes: the tensors of the ordinary text tower that stand beside it in the file; they may be missing.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    yes: Mapping[str, Tensor]


def in_second(name: str) -> str:
    """The name of a text tower's tensor in the second tower: `ln_final.bias` becomes `ln_final_no.bias`."""
    part, dot, rest = name.partition(".")
    return f"{part}_no{dot}{rest}"


def read_no_tower(path: str, clip: FrozenCLIP) -> NoTower:
    """The second tower in a file, of the size of a model's text tower. Nothing of the file is executed.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, it holds no second tower, several, or one of another size, a number is NaN
            or infinite, or the text tower of the model is not CLIP's own.
    """
    file = Path(path).expanduser()
    if not file.exists():
        raise FileNotFoundError(f"CLIPN: {file} does not exist. {WANTED}")
    shapes = {name: shape for name, shape in shapes_of(clip.whole).items() if not name.startswith(OTHER_PARTS)}
    if text_tower(clip.arch) != CLIP_TEXT or captions(clip.arch) or POSITIONS not in shapes:
        raise ValueError(
            f"CLIPN: the text tower of {clip.arch} is not CLIP's own, so the second tower in {file} cannot take its "
            "place. Choose the backbone that the tower was trained with (BACKBONE, WEIGHTS)."
        )
    try:
        checkpoint = open_checkpoint(file)
    except ValueError as error:
        raise ValueError(f"CLIPN: {error}") from error
    prefix = _prefix(file, checkpoint)
    _check_size(file, checkpoint.shapes, prefix, shapes, clip.arch)
    state = checkpoint.tensors()
    second = {name: state[prefix + in_second(name)].float() for name in shapes}
    offsets = state[prefix + OFFSETS].float()
    _check_finite(file, {**{in_second(name): value for name, value in second.items()}, OFFSETS: offsets})
    second[POSITIONS] = second[POSITIONS] + offsets.mean(0)
    return NoTower(file, second, {name: state[prefix + name] for name in shapes if prefix + name in state})


def with_no_tower(clip: FrozenCLIP, tower: NoTower) -> FrozenCLIP:
    """A model whose texts are those of the second tower. It shares the image tower, and has a fingerprint of its own.

    Raises:
        ValueError: the file also holds an ordinary text tower, and this one is not that of the model.
    """
    own = clip.whole.state_dict()
    other = [name for name, value in tower.yes.items() if not _equal(value, own[name])]
    if other:
        raise ValueError(
            f"CLIPN: the ordinary text tower in {tower.path} is not that of {clip.arch} with the weights "
            f"{clip.weights} ({len(other)} of {len(tower.yes)} tensors differ, the first of them {other[0]}), so the "
            "second tower was trained with other weights. Choose those (WEIGHTS)."
        )
    visual = clip.whole.visual
    model = copy.deepcopy(clip.whole, {id(visual): visual})
    model.load_state_dict(dict(tower.tensors), strict=False)
    return replace(clip, model=model, weights=str(tower.path), fingerprint=fingerprint(dict(tower.tensors)))


def _equal(value: Tensor, own: Tensor) -> bool:
    value, own = value.float().cpu(), own.float().cpu()
    return value.shape == own.shape and torch.allclose(value, own, rtol=RTOL, atol=ATOL)


def _prefix(file: Path, checkpoint: Checkpoint) -> str:
    """What stands before the names of the second tower, which its offsets tell."""
    found = sorted(_ending(checkpoint.shapes, OFFSETS))
    if len(found) > 1:
        raise ValueError(
            f"CLIPN: {file} holds {len(found)} second towers ({', '.join(found)}). Save the one that you want in a "
            "file of its own."
        )
    if found:
        return found[0].removesuffix(OFFSETS)
    if any(_ending(checkpoint.shapes, in_second(POSITIONS))):
        raise ValueError(
            f"CLIPN: {file} holds a second text tower without learned offsets ({OFFSETS}), as the authors' release "
            f"with hand-crafted prompts does. Only the one with learned prompts can be read. {WANTED}"
        )
    raise ValueError(f"CLIPN: {file} holds no second text tower: no tensor in it is named {OFFSETS}. {WANTED}")


def _ending(names: Iterable[str], end: str) -> Iterable[str]:
    return (name for name in names if name == end or name.endswith(f".{end}"))


def _check_size(file: Path, found: Shapes, prefix: str, shapes: Shapes, arch: str) -> None:
    """Check that the file has all tensors of the second tower in their sizes, and no others."""
    wanted = {in_second(name): shape for name, shape in shapes.items()}
    wanted[OFFSETS] = (NUM_OFFSETS, *shapes[POSITIONS])
    inside = {name.removeprefix(prefix): shape for name, shape in found.items() if name.startswith(prefix)}
    second = {name: shape for name, shape in inside.items() if name.partition(".")[0].endswith("_no")}
    differs = misfit(wanted, second, arch)
    if differs:
        raise ValueError(
            f"CLIPN: the second text tower in {file} is not one for {arch}: {differs}. Choose the backbone that it was "
            "trained with (BACKBONE, WEIGHTS), or another file."
        )


def _check_finite(file: Path, tensors: Mapping[str, Tensor]) -> None:
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise ValueError(
                f"CLIPN: {name} in {file} holds NaN or infinite numbers. The file is damaged, or comes from a training "
                "that diverged. Fetch it again."
            )
