"""Turn images into the inputs of a head, with the frozen CLIP that the head's description names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from simnl.clip.fetching import is_hub_file
from simnl.clip.finite import check_rows
from simnl.clip.model import WEIGHTS_ENDINGS, FrozenCLIP, load_clip
from simnl.clip.transforms import Transform
from simnl.clip.views import ViewSpec
from simnl.data.images import read_image, to_rgb
from simnl.fewshot.description import PIXELS, BackboneDescription, HeadDescription
from simnl.fewshot.inputs import seen_as


def clip_of(
    backbone: BackboneDescription, clip: FrozenCLIP | None, weights: str, device: str, where: str = "The head"
) -> FrozenCLIP:
    """The frozen CLIP that a head was trained on.

    Args:
        backbone: the description of that CLIP.
        clip: the CLIP if it is loaded already; None to load it here.
        weights: a tag or a path in the place of the one in the description; empty for that one.
        device: the device on which its towers run.
        where: the owner of the backbone, for messages.

    Raises:
        ValueError: there are no such weights, or they have another fingerprint.
        WeightsUnavailable: the weights are known, but are not on this machine and cannot be downloaded.
    """
    if clip is None:
        given = weights or backbone.weights
        t = backbone.transform
        transform = Transform(tuple(t["mean"]), tuple(t["std"]), t["interpolation"], t["resize_mode"])
        is_file = is_hub_file(given) or Path(given).is_file()
        if not is_file and (os.path.dirname(given) or given.endswith(WEIGHTS_ENDINGS)):
            raise ValueError(
                f"{where} needs the weights of {backbone.name} ({backbone.arch}), but there is no file {given}. Say "
                "with --weights where the file is."
            )
        clip = load_clip(backbone.arch, given, backbone.precision, device, transform if is_file else Transform())
    if clip.fingerprint != backbone.fingerprint:
        raise ValueError(
            f"{where} was trained on {backbone.name} with weights of the fingerprint {backbone.fingerprint[:12]}, but "
            f"those of {clip.arch} here ({clip.weights}) have {clip.fingerprint[:12]}. Say with --weights where the "
            "right weights are."
        )
    return clip


class ImageEncoder:
    """Turns images into the inputs of a head: raw features (B, D), or pixels if the method changes the image tower.

    A feature has the same bits as in the run that trained the head, whatever else is encoded with it, because the
    towers always see batches of one size (`FrozenCLIP.image_rows`).

    Args:
        about: the description of the head.
        clip: the frozen CLIP if it is loaded already; its fingerprint is checked. None to load it here.
        weights: a tag or a path of the same weights, if they are not at the place that the description names.
        device: the device on which the towers run, if they are loaded here.
        where: the owner of the backbone, for messages.

    Raises:
        ValueError, WeightsUnavailable: see `clip_of`.
    """

    def __init__(
        self,
        about: HeadDescription,
        *,
        clip: FrozenCLIP | None = None,
        weights: str = "",
        device: str = "cpu",
        where: str = "The head",
    ):
        self.clip = seen_as(clip_of(about.backbone, clip, weights, device, where), about.takes)
        self.takes_pixels = about.takes == PIXELS
        self._transform = ViewSpec.test(about.backbone.transform).build()

    @property
    def batch_rows(self) -> int:
        """How many images the towers see at once."""
        return self.clip.batch_rows

    def pixels(self, image: str | Path | Image) -> Tensor:
        """An image under the test transform, (3, H, W) float32.

        Args:
            image: a path, or an image of Pillow.

        Raises:
            UnreadableImage: the file cannot be decoded. FileNotFoundError: there is no such file.
        """
        return self._transform(to_rgb(image) if isinstance(image, Image) else read_image(str(image)))

    def inputs(self, pixels: Tensor, names: Sequence[str] = ()) -> Tensor:
        """The inputs of the head, from pixels (B, 3, H, W). `names` are the names of the images, for messages.

        Raises:
            NotFinite: features are NaN or infinite.
        """
        if self.takes_pixels:
            return pixels
        features = self.clip.image_rows(pixels).cpu()
        check_rows(features, self.clip, "image", list(names) or [f"image {i}" for i in range(len(features))])
        return features

    def encode(self, images: Sequence[str | Path | Image]) -> Tensor:
        """The inputs of the head, from one or more images, which are paths or images of Pillow.

        Raises:
            UnreadableImage: an image cannot be decoded; the message names it.
        """
        rows = self.batch_rows
        parts = [images[start : start + rows] for start in range(0, len(images), rows)]
        names = [[str(image) if isinstance(image, str | Path) else "an image" for image in part] for part in parts]
        pixels = (torch.stack([self.pixels(image) for image in part]) for part in parts)
        return torch.cat([self.inputs(one, name) for one, name in zip(pixels, names, strict=True)])
