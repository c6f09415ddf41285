"""Build image transforms from `cfg.INPUT`.

Which transforms are used is configured, their order is not: it is that of the code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torchvision.transforms import (
    CenterCrop,
    ColorJitter,
    Compose,
    GaussianBlur,
    InterpolationMode,
    Normalize,
    RandomApply,
    RandomCrop,
    RandomGrayscale,
    RandomHorizontalFlip,
    RandomResizedCrop,
    Resize,
    ToTensor,
)
from yacs.config import CfgNode

from dassl._lazy import lazy
from dassl.utils.errors import CheckError

from .augmentations import Cutout, GaussianNoise, InstanceNormalization, Random2DTranslation
from .autoaugment import CIFAR10Policy, ImageNetPolicy, SVHNPolicy
from .randaugment import RandAugment, RandAugment2, RandAugmentFixMatch

# Upstream's module has no `__all__`, and plugins import from it what it imports itself.
LAZY = {"np": "numpy", "random": "random", "torch": "torch"}
__all__ = [
    "AVAI_CHOICES",
    "INTERPOLATION_MODES",
    "Cutout",
    "GaussianNoise",
    "InstanceNormalization",
    "Random2DTranslation",
    "CenterCrop",
    "ColorJitter",
    "Compose",
    "GaussianBlur",
    "InterpolationMode",
    "Normalize",
    "RandomApply",
    "RandomCrop",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "Resize",
    "ToTensor",
    "CIFAR10Policy",
    "ImageNetPolicy",
    "SVHNPolicy",
    "RandAugment",
    "RandAugment2",
    "RandAugmentFixMatch",
    "build_transform",
    "build_transform_img0",
    *LAZY,
]

__getattr__ = lazy(__name__, LAZY)

AVAI_CHOICES = [
    "random_flip",
    "random_resized_crop",
    "normalize",
    "instance_norm",
    "random_crop",
    "random_translation",
    "center_crop",
    "cutout",
    "imagenet_policy",
    "cifar10_policy",
    "svhn_policy",
    "randaugment",
    "randaugment_fixmatch",
    "randaugment2",
    "gaussian_noise",
    "colorjitter",
    "randomgrayscale",
    "gaussian_blur",
]

INTERPOLATION_MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}

Step = tuple[str, str, Callable[[], Callable]]  # name of the choice, line to print, how to make the transform


def build_transform(cfg: CfgNode, is_train: bool = True, choices: Sequence[str] | None = None) -> Compose | None:
    """Build the training or the test transform, printing what it does.

    Args:
        cfg: configuration, of which the node INPUT is used.
        is_train: which one.
        choices: names from AVAI_CHOICES; None: `cfg.INPUT.TRANSFORMS`. `center_crop` is accepted for old
            config files and changes nothing.

    Returns:
        PIL image -> float tensor `(3, H, W)`; None if `cfg.INPUT.NO_TRANSFORM`.

    Raises:
        CheckError: an unknown choice or interpolation.
    """
    if cfg.INPUT.NO_TRANSFORM:
        print("Note: no transform is applied!")
        return None
    if choices is None:
        choices = cfg.INPUT.TRANSFORMS
    for choice in choices:
        if choice not in AVAI_CHOICES:
            raise CheckError(f"INPUT.TRANSFORMS has '{choice}'. Choose from {', '.join(AVAI_CHOICES)}")
    target_size = f"{cfg.INPUT.SIZE[0]}x{cfg.INPUT.SIZE[1]}"
    build = _build_transform_train if is_train else _build_transform_test
    return build(cfg, choices, target_size, Normalize(mean=cfg.INPUT.PIXEL_MEAN, std=cfg.INPUT.PIXEL_STD))


def build_transform_img0(cfg: CfgNode) -> Compose:
    """Resize, to tensor, and normalise if that is chosen: the training image without augmentation."""
    steps = [Resize(cfg.INPUT.SIZE, interpolation=_interpolation(cfg)), ToTensor()]
    if "normalize" in cfg.INPUT.TRANSFORMS:
        steps.append(Normalize(mean=cfg.INPUT.PIXEL_MEAN, std=cfg.INPUT.PIXEL_STD))
    return Compose(steps)


def _build_transform_train(cfg: CfgNode, choices: Sequence[str], target_size: str, normalize: Normalize) -> Compose:
    print("Building transform_train")
    transforms = []
    if "random_crop" not in choices and "random_resized_crop" not in choices:
        print(f"+ resize to {target_size}")
        transforms.append(Resize(cfg.INPUT.SIZE, interpolation=_interpolation(cfg)))
    steps = [*_geometric_steps(cfg), *_colour_steps(cfg)]
    return Compose(transforms + _chosen(steps, choices) + _tensor_part(cfg, choices, normalize, is_train=True))


def _build_transform_test(cfg: CfgNode, choices: Sequence[str], target_size: str, normalize: Normalize) -> Compose:
    print("Building transform_test")
    print(f"+ resize the smaller edge to {max(cfg.INPUT.SIZE)}")
    print(f"+ {target_size} center crop")
    transforms = [Resize(max(cfg.INPUT.SIZE), interpolation=_interpolation(cfg)), CenterCrop(cfg.INPUT.SIZE)]
    return Compose(transforms + _tensor_part(cfg, choices, normalize, is_train=False))


def _geometric_steps(cfg: CfgNode) -> list[Step]:
    node = cfg.INPUT
    height, width = node.SIZE
    return [
        ("random_translation", "random translation", lambda: Random2DTranslation(height, width)),
        (
            "random_crop",
            f"random crop (padding = {node.CROP_PADDING})",
            lambda: RandomCrop(node.SIZE, padding=node.CROP_PADDING),
        ),
        (
            "random_resized_crop",
            f"random resized crop (size={node.SIZE}, scale={node.RRCROP_SCALE})",
            lambda: RandomResizedCrop(node.SIZE, scale=node.RRCROP_SCALE, interpolation=_interpolation(cfg)),
        ),
        ("random_flip", "random flip", RandomHorizontalFlip),
    ]


def _colour_steps(cfg: CfgNode) -> list[Step]:
    node = cfg.INPUT
    n, m = node.RANDAUGMENT_N, node.RANDAUGMENT_M
    b, c, s, h = node.COLORJITTER_B, node.COLORJITTER_C, node.COLORJITTER_S, node.COLORJITTER_H
    return [
        ("imagenet_policy", "imagenet policy", ImageNetPolicy),
        ("cifar10_policy", "cifar10 policy", CIFAR10Policy),
        ("svhn_policy", "svhn policy", SVHNPolicy),
        ("randaugment", f"randaugment (n={n}, m={m})", lambda: RandAugment(n, m)),
        ("randaugment_fixmatch", f"randaugment_fixmatch (n={n})", lambda: RandAugmentFixMatch(n)),
        ("randaugment2", f"randaugment2 (n={n})", lambda: RandAugment2(n)),
        (
            "colorjitter",
            f"color jitter (brightness={b}, contrast={c}, saturation={s}, hue={h})",
            lambda: ColorJitter(brightness=b, contrast=c, saturation=s, hue=h),
        ),
        ("randomgrayscale", "random gray scale", lambda: RandomGrayscale(p=node.RGS_P)),
        (
            "gaussian_blur",
            f"gaussian blur (kernel={node.GB_K})",
            lambda: RandomApply([GaussianBlur(node.GB_K)], p=node.GB_P),
        ),
    ]


def _tensor_part(cfg: CfgNode, choices: Sequence[str], normalize: Normalize, is_train: bool) -> list[Callable]:
    """What comes from ToTensor on; augmentations in training only."""
    node = cfg.INPUT
    print("+ to torch tensor of range [0, 1]")
    cutout: Step = (
        "cutout",
        f"cutout (n_holes={node.CUTOUT_N}, length={node.CUTOUT_LEN})",
        lambda: Cutout(node.CUTOUT_N, node.CUTOUT_LEN),
    )
    noise: Step = (
        "gaussian_noise",
        f"gaussian noise (mean={node.GN_MEAN}, std={node.GN_STD})",
        lambda: GaussianNoise(node.GN_MEAN, node.GN_STD),
    )
    normal: Step = (
        "normalize",
        f"normalization (mean={node.PIXEL_MEAN}, std={node.PIXEL_STD})",
        lambda: normalize,
    )
    instance: Step = ("instance_norm", "instance normalization", InstanceNormalization)
    steps = [cutout, normal, noise, instance] if is_train else [normal, instance]
    return [ToTensor(), *_chosen(steps, choices)]


def _chosen(steps: Sequence[Step], choices: Sequence[str]) -> list[Callable]:
    transforms = []
    for name, line, make in steps:
        if name in choices:
            print(f"+ {line}")
            transforms.append(make())
    return transforms


def _interpolation(cfg: CfgNode) -> InterpolationMode:
    name = cfg.INPUT.INTERPOLATION
    if name not in INTERPOLATION_MODES:
        raise CheckError(f"INPUT.INTERPOLATION is '{name}'. Choose one of {', '.join(INTERPOLATION_MODES)}")
    return INTERPOLATION_MODES[name]
