"""End a run at NaN or infinite numbers, before they are stored or used."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

MASK = "attn_mask"  # the mask of attention, which contains minus infinity on purpose
SHOWN = 60  # characters of a prompt in a message


class NotFinite(ValueError):
    """Weights or features have NaN or infinite numbers, so every figure would be meaningless."""


class Encoders(Protocol):
    """The properties of a `simnl.clip.model.FrozenCLIP` that messages name."""

    @property
    def arch(self) -> str:
        """The architecture."""

    @property
    def weights(self) -> str:
        """The tag or the file of the weights."""

    @property
    def precision(self) -> str:
        """The precision of the image tower."""

    @property
    def text_precision(self) -> str:
        """The precision of the text tower."""


def check_weights(model: nn.Module, arch: str, weights: str) -> None:
    """Check every number of a model, and its logit scale as the model uses it.

    Raises:
        NotFinite: a number is NaN or infinite. The message names the encoder, the tensor and the weights.
    """
    tensors = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    bad = [name for name, x in tensors.items() if not name.endswith(MASK) and not _all_finite(x)]
    if bad:
        first = min(bad, key=lambda name: not _named_scale(name))  # the logit scale comes first
        where = "the logit scale or bias" if _named_scale(first) else f"the {_encoder(first)} encoder"
        others = f" and {len(bad) - 1} more tensors hold" if len(bad) > 1 else " holds"
        raise NotFinite(
            f"The weights '{weights}' of {arch} cannot be used: {first}, of {where},{others} NaN or infinite numbers. "
            "The file is damaged or comes from a training that diverged. Fetch it again, or choose other weights "
            "(WEIGHTS, MODEL.BACKBONE.WEIGHTS)."
        )
    scale = tensors.get("logit_scale")
    if scale is not None and not (math.isfinite(scale.exp()) and scale.exp() > 0):
        raise NotFinite(
            f"The weights '{weights}' of {arch} cannot be used: logit_scale is {scale.item():g}, and its exponential, "
            "by which all logits are multiplied, is not a positive finite number. Choose other weights (WEIGHTS, "
            "MODEL.BACKBONE.WEIGHTS)."
        )


def _all_finite(x: Tensor) -> bool:
    """A sum is finite only if all its terms are. One that is not, which may have overflowed, is looked at in full."""
    return math.isfinite(x.sum()) or bool(torch.isfinite(x).all())


def _named_scale(name: str) -> bool:
    return name in ("logit_scale", "logit_bias")


def _encoder(name: str) -> str:
    return "image" if name.startswith("visual.") else "text"


def check_rows(rows: Tensor, clip: Encoders, encoder: str, sources: Sequence[str]) -> None:
    """Check features before they are stored or used.

    Args:
        rows: raw features, (n, D).
        clip: the model that gave them.
        encoder: `image` or `text`.
        sources: the image file or the prompt of each row, length n.

    Raises:
        NotFinite: a number is NaN or infinite. The message names the encoder, its architecture and weights, and the
            first image or prompt.
    """
    finite = torch.isfinite(rows).all(-1)
    if finite.all():
        return
    bad = (~finite).nonzero().flatten().tolist()
    source = sources[bad[0]] if encoder == "image" else repr(sources[bad[0]][:SHOWN])
    precision = clip.precision if encoder == "image" else clip.text_precision
    if precision == "fp16":
        advice = "Numbers above 65,504 overflow in fp16. Choose fp32 or bf16 (MODEL.BACKBONE.PRECISION)"
    elif rows.dtype == torch.float16:
        advice = "Numbers above 65,504 overflow in fp16, which they are stored in. Choose fp32 (MODEL.BACKBONE.STORED)"
    else:
        advice = "The weights are damaged or not made for this architecture. Fetch them again"
    raise NotFinite(
        f"The {encoder} encoder of {clip.arch} with the weights '{clip.weights}' gives NaN or infinite numbers "
        f"(precision {precision}) for {len(bad)} of {len(sources)} inputs, the first of them {source}. They are not "
        f"stored. {advice}, or choose other weights (WEIGHTS, MODEL.BACKBONE.WEIGHTS)."
    )


def check_logits(logits: Tensor, method: str) -> None:
    """Check logits (B, C) before predictions are counted.

    Raises:
        NotFinite: a logit is NaN or infinite. The message names the method.
    """
    if not torch.isfinite(logits).all():
        bad = int((~torch.isfinite(logits).all(-1)).sum())
        raise NotFinite(
            f"{method} gives NaN or infinite logits for {bad} of {len(logits)} images. Their accuracy would mean "
            f"nothing, so no record is written. Lower OPTIM.LR, or the constants of TRAINER.{method.upper()}."
        )
