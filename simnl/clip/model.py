"""Frozen CLIP through open_clip: any architecture, any weights tag or local checkpoint, and the bundled tiny CLIPs.

All facts about the model that a method may need (feature width, image size, mean and std, context length, logit scale)
are read from the model itself, never from a config.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import open_clip
import torch
from torch import Tensor

from simnl.clip import tiny_clip, transforms
from simnl.clip.architectures import context_length, settings
from simnl.clip.arithmetic import exact_products
from simnl.clip.batches import in_fixed_batches
from simnl.clip.building import CLIPModel, Undrawn, build_from_file, check_activation, without_weights
from simnl.clip.fetching import fetch_file, fetch_weights, is_hub_file
from simnl.clip.finite import check_weights
from simnl.clip.tiny_clip import BUNDLED, Bundled
from simnl.clip.tokens import check_tokenizer, tokenizer_of
from simnl.clip.transforms import Transform
from simnl.clip.tuning import tune
from simnl.clip.weights import open_checkpoint

log = logging.getLogger(__name__)

TINY = tiny_clip.RESNET.arch  # the architecture name of the bundled model that is the default
WEIGHTS_ENDINGS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")  # endings that no tag has
NO_TRANSFORM = Transform()
BATCH_ROWS = 40  # rows of every batch of stored features, on every device, so that machines can share a store
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class ImageProjection:
    """The last linear map of an image tower: raw features are hidden features (B, H) @ weight (H, D) + bias (D,)."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, eq=False)  # equal is only a model to itself, so that results can be remembered by model
class FrozenCLIP:
    """A CLIP model that is never trained, with the facts about it that the rest of the program reads.

    `encode_image` and `encode_text` return raw (not normalised) float32 features `(B, D)`. The number of rows in a
    batch decides how kernels split their sums, and so the last bits of a row. Features that are stored, or compared
    between runs, therefore come from `image_rows` and `text_rows`, where a row has the same bits whatever else is
    encoded, in any order, and however often. With enough rows this also holds for any number of threads. On processors
    this was seen from 16 rows on (1 to 16 threads; AVX-512, AVX2 and SSE); with fewer rows the number of threads
    matters. Libraries of GPUs may choose their kernels by the card, so rows from different cards, or from a card and a
    processor, agree only within rounding.
    """

    model: CLIPModel
    arch: str
    weights: str
    precision: str
    device: torch.device
    fingerprint: str
    preprocess: dict  # open_clip's, and a `decoder` where it is not Pillow
    logit_scale: float
    logit_bias: float
    embed_dim: int
    context_length: int
    image_projection: ImageProjection | None = None  # the map that image features lack, if any (see `projection.py`)
    patches: int = 0  # number of patches whose features follow the image's in a row (see `patches.py`)
    batch_rows: ClassVar[int] = BATCH_ROWS

    @property
    def whole(self) -> CLIPModel:
        """open_clip's own model, also if the features of images are followed by those of patches."""
        return getattr(self.model, "whole", self.model)

    @property
    def image_dim(self) -> int:
        """The width of image features: `embed_dim`, H without the projection, or (1 + G) D with patches."""
        width = self.embed_dim if self.image_projection is None else len(self.image_projection.weight)
        return (1 + self.patches) * width

    @torch.no_grad()
    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalised pixels `(B, 3, H, W)` float32 to raw features `(B, D)` float32."""
        with exact_products(), self.autocast():
            # otherwise features of CoCa would have unit length
            return self.model.encode_image(pixels.to(self.device, non_blocking=True), normalize=False).float()

    @torch.no_grad()
    def encode_text(self, tokens: Tensor) -> Tensor:
        """Token ids `(B, L)` int64 to raw features `(B, D)` float32."""
        with exact_products(), self.autocast(self.text_precision):
            return self.model.encode_text(tokens.to(self.device), normalize=False).float()

    @property
    def from_file(self) -> bool:
        """Whether the weights are of a file, which may fit architectures that differ in their activation."""
        return self.weights not in ("bundled", *open_clip.list_pretrained_tags_by_model(self.arch))

    @property
    def text_precision(self) -> str:
        """The precision of the text tower: that of the image tower, but fp32 on a CPU, where half types are slower."""
        return "fp32" if self.device.type == "cpu" else self.precision

    def image_rows(self, pixels: Tensor) -> Tensor:
        """`encode_image` for any number of rows, each of which is the same bits whatever the others are."""
        return in_fixed_batches(self.encode_image, pixels, self.batch_rows)

    def text_rows(self, tokens: Tensor) -> Tensor:
        """`encode_text` for any number of rows, each of which is the same bits whatever the others are."""
        return in_fixed_batches(self.encode_text, tokens, self.batch_rows)

    def tokenize(self, prompts: list[str]) -> Tensor:
        """Prompts to token ids `(B, L)`, cut at the context length (long CuPL sentences overflow it)."""
        return self._tokenizer(prompts, context_length=self.context_length)

    def num_cut(self, prompts: list[str]) -> int:
        """How many of the prompts are longer than the context length."""
        more = self._tokenizer(prompts, context_length=self.context_length + 1)[:, :-1]
        return int((more != self.tokenize(prompts)).any(1).sum())  # they differ where prompts are cut

    @functools.cached_property
    def _tokenizer(self):
        return tokenizer_of(self.arch)

    def autocast(self, precision: str | None = None):
        """The context in which the towers run: autocast to their precision or another one, or no change for fp32."""
        dtype = PRECISIONS[precision or self.precision]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not torch.float32)


@functools.lru_cache(maxsize=2)
def load_clip(
    arch: str, weights: str, precision: str = "fp32", device: str = "cpu", transform: Transform = NO_TRANSFORM
) -> FrozenCLIP:
    """Load a model once per process.

    Args:
        arch: an open_clip architecture name (`RN50-quickgelu`, `ViT-B-32`, ...), `tiny-clip` or `tiny-vit`.
        weights: an open_clip weights tag (`openai`, `laion2b_s34b_b79k`, ...), a path to a checkpoint file
            (safetensors, a state dict, or OpenAI's TorchScript archive), such a file on the hub
            (`hf-hub:OWNER/NAME`, `hf-hub:OWNER/NAME/FILE`), or `bundled` for the tiny CLIPs.
        precision: the numerical type of the towers under autocast: `fp32`, `bf16` or `fp16`.
        device: the device of the towers, e.g. `cpu` or `cuda`.
        transform: the part of the transform of images that the user gives, for weights in a file (see
            `simnl.clip.transforms`).

    Raises:
        ValueError: the architecture, tag or precision is unknown, the activation does not fit the weights, the file
            holds something else, weights are not finite, the user has to give the transform, or a package is missing.
        WeightsUnavailable: the tag is known, but its file is not on this machine and could not be downloaded.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"Unknown tower precision '{precision}'. Choose one of {sorted(PRECISIONS)}.")
    is_file = arch not in BUNDLED and (is_hub_file(weights) or _is_file(weights))
    if transform.given and not is_file:
        raise ValueError(f"{transforms.NODE} is only for weights in a file, but WEIGHTS is '{weights}'.")
    if arch in BUNDLED:
        model, weights = _build_tiny(BUNDLED[arch]), "bundled"
    else:
        _check_arch(arch)
        check_tokenizer(arch)
        if is_hub_file(weights):
            model = _build_from_hub(arch, weights, transform)
        else:
            model = build_from_file(arch, weights, transform) if is_file else _build_from_tag(arch, weights)
    model = model.eval().requires_grad_(False)
    return _describe(model, arch, weights, precision, torch.device(device))


def _describe(model: CLIPModel, arch: str, weights: str, precision: str, device: torch.device) -> FrozenCLIP:
    check_weights(model, arch, weights)
    state = model.state_dict()
    bias = state.get("logit_bias")
    return FrozenCLIP(
        model=tune(model).to(device),
        arch=arch,
        weights=weights,
        precision=precision,
        device=device,
        fingerprint=fingerprint(state),
        preprocess=dict(model.visual.preprocess_cfg),
        logit_scale=float(state["logit_scale"].exp()),
        logit_bias=float(bias) if bias is not None else 0.0,
        embed_dim=settings(arch)["embed_dim"],
        context_length=context_length(arch),  # that of a Hugging Face tower may be unlimited, or 0
    )


def fingerprint(state: dict[str, Tensor]) -> str:
    """SHA-256 (hex) over the names, shapes and bytes of a state dict; the same weights give the same value."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_arch(arch: str) -> None:
    known = open_clip.list_models()
    if arch not in known:
        near = difflib.get_close_matches(arch, known, n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(
            f"Unknown architecture '{arch}' (MODEL.BACKBONE.ARCH).{hint} Use one of configs/backbones/*.yaml or "
            "any name that open_clip.list_models() prints."
        )


def _is_file(weights: str) -> bool:
    """True for weights in a file. Raises ValueError for a path without a file."""
    if os.path.isfile(weights):
        return True
    if os.path.isdir(weights):
        open_checkpoint(weights)  # raises an error that says so
    if os.path.exists(weights):
        raise ValueError(f"{weights} (WEIGHTS) is a pipe or a device. Give a file.")
    if os.path.dirname(weights) or weights.endswith(WEIGHTS_ENDINGS):
        raise ValueError(f"There is no file {weights} (WEIGHTS, or MODEL.BACKBONE.WEIGHTS).")
    return False


def _build_tiny(bundled: Bundled) -> CLIPModel:
    _register(bundled)
    model = without_weights(bundled.arch)
    model.load_state_dict(tiny_clip.load_state_dict(bundled.weights))
    preprocess = {**model.visual.preprocess_cfg, "mean": tiny_clip.IMAGE_MEAN, "std": tiny_clip.IMAGE_STD}
    model.visual.preprocess_cfg = preprocess
    return model


@functools.lru_cache
def _register(bundled: Bundled) -> None:
    open_clip.add_model_config(bundled.config)


def check_known(arch: str, weights: str) -> None:
    """Check that the architecture exists and can have these weights, without loading anything.

    Raises:
        ValueError: the architecture is unknown, the weights are neither a file nor a tag, or weights are given for a
            bundled model.
    """
    if arch in BUNDLED:
        if weights != "bundled":
            raise ValueError(f"WEIGHTS is '{weights}', but the bundled {arch} has its own. Leave WEIGHTS out.")
        return
    _check_arch(arch)
    if is_hub_file(weights):
        return
    if not Path(weights).is_file() and not open_clip.get_pretrained_cfg(arch, weights):
        tags = ", ".join(open_clip.list_pretrained_tags_by_model(arch)) or "none"
        raise ValueError(
            f"'{weights}' (WEIGHTS, or MODEL.BACKBONE.WEIGHTS) is neither a file nor a weights tag of {arch}. "
            f"Its tags: {tags}."
        )


def _build_from_tag(arch: str, tag: str) -> CLIPModel:
    check_known(arch, tag)
    wanted = open_clip.get_pretrained_cfg(arch, tag)
    check_activation(arch, bool(wanted.get("quick_gelu", False)), f"weights tag '{tag}'")
    fetch_weights(arch, tag)
    with Undrawn():
        return open_clip.create_model(arch, pretrained=tag)


def _build_from_hub(arch: str, weights: str, given: Transform) -> CLIPModel:
    path, config = fetch_file(arch, weights)
    if config:  # the config has what a file of tensors lacks
        check_activation(arch, bool(config.get("model_cfg", {}).get("quick_gelu", False)), f"model '{weights}'")
        given = given.or_else(config.get("preprocess_cfg", {}))
    return build_from_file(arch, path, given)
