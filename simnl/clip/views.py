"""The transforms of images before they are encoded: the test view, and seeded random views.

A random view is a function of (image content, view number) only. So it does not depend on the order of the images, the
batch size or the number of workers, and all methods, seeds and shot counts share it.
"""

from __future__ import annotations

import hashlib
import json
import random
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace

import numpy as np
import open_clip
import torch
from torchvision import transforms as T

from simnl.config_names import check_choice
from simnl.data.decoders import PILLOW, drop_in, with_version

INTERPOLATION = {"bicubic": T.InterpolationMode.BICUBIC, "bilinear": T.InterpolationMode.BILINEAR}


@dataclass(frozen=True)
class ViewSpec:
    """A transform that makes views of images.

    crop_scale: the share of the image's area that a RandomResizedCrop keeps, (min, max); None for the model's own test
        transform (resize, centre crop), which has one view only.
    flip: the probability of a horizontal flip; 0 or 1 with the test transform.
    augmix: True for AugMix of severity 1 without operations on colours after crop and flip (Hendrycks et al.,
        arXiv:1912.02781; torchvision's).
    decoder: the decoder of JPEG files, see `simnl.data.decoders`.
    """

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize_mode: str
    crop_scale: tuple[float, float] | None = None
    flip: float = 0.0
    augmix: bool = False
    decoder: str = PILLOW

    @classmethod
    def test(cls, preprocess: dict) -> ViewSpec:
        """The model's own test transform; `preprocess` is that of the model (`FrozenCLIP.preprocess`)."""
        size = preprocess["size"]
        return cls(
            size=size if isinstance(size, int) else max(size),
            mean=tuple(preprocess["mean"]),
            std=tuple(preprocess["std"]),
            interpolation=preprocess.get("interpolation", "bicubic"),
            resize_mode=preprocess.get("resize_mode", "shortest"),
            decoder=preprocess.get("decoder", PILLOW),
        )

    @classmethod
    def random(cls, preprocess: dict, crop_scale: tuple[float, float], flip: float = 0.5) -> ViewSpec:
        """RandomResizedCrop and flip, the augmentation of the CoOp family (0.08, 1) and the Tip family (0.5, 1)."""
        return cls(**{**asdict(cls.test(preprocess)), "crop_scale": tuple(crop_scale), "flip": flip})

    @classmethod
    def of_training(cls, preprocess: dict, kind: str, crop_scale: tuple[float, float]) -> list[ViewSpec]:
        """The transforms of training images: `random`, `centre` (the test transform), `centre+flip` (also mirrored).

        Raises:
            ValueError: the kind (VIEWS.KIND) is unknown.
        """
        centre = cls.test(preprocess)
        kinds = {
            "random": [cls.random(preprocess, crop_scale)],
            "centre": [centre],
            "centre+flip": [centre, replace(centre, flip=1.0)],
        }
        check_choice("VIEWS.KIND", kind, kinds)
        return kinds[kind]

    @property
    def digest(self) -> str:
        """A digest of the transform, which is part of the key of stored features."""
        about = asdict(self)
        decoder = about.pop("decoder")  # a later field, of which older entries know nothing
        if decoder != PILLOW:
            about["decoder"] = with_version(decoder)
        if drop_in():  # it resizes to other pixels
            about["pillow"] = drop_in()
        if not self.augmix:
            del about["augmix"]  # a newer field, which older entries do not have
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def build(self):
        """The torchvision transform, from a PIL image to (3, size, size) float32."""
        if self.crop_scale is None:
            centre = open_clip.image_transform(
                self.size,
                is_train=False,
                mean=self.mean,
                std=self.std,
                interpolation=self.interpolation,
                resize_mode=self.resize_mode,
            )
            return T.Compose([T.RandomHorizontalFlip(1.0), centre]) if self.flip else centre
        return T.Compose(
            [
                T.RandomResizedCrop(self.size, scale=self.crop_scale, interpolation=INTERPOLATION[self.interpolation]),
                T.RandomHorizontalFlip(self.flip),
                *([T.AugMix(severity=1, all_ops=False)] if self.augmix else []),
                T.ToTensor(),
                T.Normalize(self.mean, self.std),
            ]
        )


def view_seed(content: bytes, view: int) -> int:
    """The seed of one view of one image: 63 bits of a hash of the image's content digest and the number of the view."""
    return int.from_bytes(hashlib.blake2b(content + view.to_bytes(4, "little"), digest_size=8).digest(), "little") >> 1


@contextmanager
def seeded(seed: int):
    """Run the block with every generator that a torchvision transform may use seeded, then restore them all."""
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
