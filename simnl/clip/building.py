"""Build a model whose weights are in a file of the user."""

from __future__ import annotations

import logging
from typing import Any

import open_clip
import torch
from torch import Tensor
from torch.nn import init
from torch.overrides import TorchFunctionMode

from simnl.clip import architectures, transforms
from simnl.clip.transforms import Transform
from simnl.clip.weights import Shapes, misfit, open_checkpoint, shapes_of

log = logging.getLogger(__name__)

open_clip.add_model_config(architectures.OWN)

CLIPModel = Any  # a model of open_clip, whose parts PyTorch's annotations do not know


class Undrawn(TorchFunctionMode):
    """Within the block no random weights are drawn: tensors stay as the memory was. It is for models whose weights are
    loaded at once, and all of them (`strict`); drawing those of a ResNet-50 takes as long as reading it."""

    RANDOM = (Tensor.normal_, Tensor.uniform_, init.normal_, init.uniform_, init.kaiming_uniform_)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        named = kwargs or {}
        if func in self.RANDOM:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def build_from_file(arch: str, path: str, given: Transform) -> CLIPModel:
    """The model of an architecture with the weights in a file, and the transform of its images.

    Raises:
        ValueError: the file holds something else, or weights of another architecture or activation; or the user has to
            give the transform.
    """
    checkpoint = open_checkpoint(path)
    if checkpoint.torchscript:  # the form in which OpenAI publishes its weights
        check_activation(arch, True, f"OpenAI checkpoint {path}")
        transform = transforms.of_openai_archive(given)
        model = _loaded_strictly(arch, path, _read_torchscript(path))
    else:
        transform = transforms.of_file(arch, path, given)
        _tell_assumptions(arch, path)
        if checkpoint.by_open_clip:
            model = _loaded_by_open_clip(arch, path, checkpoint.shapes)
        else:
            model = _loaded_strictly(arch, path, checkpoint.tensors())
    model.visual.preprocess_cfg = {**model.visual.preprocess_cfg, **transform}
    return model


def _read_torchscript(path: str) -> dict[str, Tensor]:
    try:
        state = torch.jit.load(path, map_location="cpu").state_dict()
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"The weights file {path} is cut short or damaged. Fetch it again.") from error
    return {k: v for k, v in state.items() if k not in ("input_resolution", "context_length", "vocab_size")}


def _loaded_by_open_clip(arch: str, path: str, shapes: Shapes) -> CLIPModel:
    """Let open_clip read the file, whose names and sizes of tables it can translate. Changed sizes are logged."""
    try:
        with Undrawn():
            model = open_clip.create_model(arch, pretrained=path)
    except (RuntimeError, AssertionError, LookupError, ValueError, AttributeError, TypeError) as error:
        raise _not_of(arch, path, without_weights(arch), shapes, error) from error
    sizes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    resized = [name for name, size in sizes.items() if shapes.get(name, size) != size]
    if resized:
        log.warning(
            "%s was trained for images or texts of another size than %s takes, so %s %s interpolated. Check BACKBONE.",
            path, arch, ", ".join(resized), "are" if len(resized) > 1 else "is",
        )  # fmt: skip
    return model


def _loaded_strictly(arch: str, path: str, state: dict[str, Tensor]) -> CLIPModel:
    model = without_weights(arch)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        raise _not_of(arch, path, model, shapes, error) from error
    return model


def _not_of(arch: str, path: str, model: CLIPModel, shapes: Shapes, error: Exception) -> ValueError:
    """The error for a file whose tensors are not those of the architecture."""
    differences = misfit(shapes_of(model), shapes, arch) or str(error).splitlines()[0][:200]
    return ValueError(
        f"{path} does not hold the weights of {arch} (MODEL.BACKBONE.ARCH, or BACKBONE): {differences}. Give the "
        "architecture that the weights were trained with."
    )


def without_weights(arch: str) -> CLIPModel:
    """A model without weights, all of which are loaded next. open_clip's warning that there are none is not shown."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with Undrawn():
            return open_clip.create_model(arch, pretrained_text=False)  # else it would fetch a Hugging Face tower's
    finally:
        root.setLevel(level)


def _tell_assumptions(arch: str, path: str) -> None:
    """Warn that a file of tensors does not name its activation, if the architecture exists with either activation."""
    other = arch.removesuffix("-quickgelu") if arch.endswith("-quickgelu") else f"{arch}-quickgelu"
    if other in open_clip.list_models():
        log.warning(
            "%s does not say with which activation its model was trained. %s uses %s; if that is wrong, choose %s "
            "(MODEL.BACKBONE.ARCH). Otherwise accuracies are a few points too low. OpenAI's weights use QuickGELU.",
            path,
            arch,
            "QuickGELU" if open_clip.get_model_config(arch).get("quick_gelu", False) else "GELU",
            other,
        )


def check_activation(arch: str, quick_gelu: bool, what: str) -> None:
    """Refuse weights that were trained with another activation, with which accuracies would be a few points too low.

    A tag states QuickGELU or nothing, so the name of an architecture that states it (roberta-ViT-B-32) is trusted.
    """
    has = bool(open_clip.get_model_config(arch).get("quick_gelu", False))
    other = f"{arch}-quickgelu" if quick_gelu else arch.removesuffix("-quickgelu")
    if has == quick_gelu or other == arch:
        return
    raise ValueError(
        f"The {what} was trained with {'QuickGELU' if quick_gelu else 'GELU'}, but {arch} uses "
        f"{'QuickGELU' if has else 'GELU'}. Set MODEL.BACKBONE.ARCH to '{other}'."
    )
