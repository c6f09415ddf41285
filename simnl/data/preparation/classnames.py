"""Write `classnames.txt`, which has CLIP's name for the WordNet id of each ImageNet class."""

from __future__ import annotations

from pathlib import Path

from simnl.data.wnids import IMAGENET_CLASSES, clip_classnames
from simnl.files import write_text_atomically


def imagenet_wnids() -> list[str]:
    """WordNet ids of the 1000 ImageNet classes, sorted, which is the order of their labels."""
    from timm.data import ImageNetInfo  # open_clip depends on timm

    wnids = ImageNetInfo("imagenet-1k").label_names()
    if len(set(wnids)) != IMAGENET_CLASSES or wnids != sorted(wnids):
        raise RuntimeError("The installed timm does not list the 1000 ImageNet classes in order. Update it.")
    return wnids


def write_classnames(path: Path) -> None:
    """One `wnid name` per line, 1000 lines, whole or not at all."""
    lines = [f"{wnid} {name}\n" for wnid, name in zip(imagenet_wnids(), clip_classnames(), strict=True)]
    write_text_atomically(path, "".join(lines))
