"""The tables of docs/backbones.md: what each kind of architecture is made of, and which methods run on it.

Everything is read from configs, weights tags and declarations; no weights are loaded. tests/clip/test_any_vlm.py builds
each of `ARCHITECTURES` with random weights and compares it with the tables. `python tools/methods.py` writes the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import open_clip

from dassl.engine import TRAINER_REGISTRY
from simnl.clip import architectures, transforms
from simnl.clip.bundled import BUNDLED
from simnl.config_names import config_files, known
from simnl.fewshot.capabilities import ANY_TEXT, CLIP_TEXT, TRANSFORMER, refusal
from simnl.locations import ROOT
from simnl.plugins import load_plugins
from simnl.runs.pages import table
from simnl.runs.yaml_files import read_yaml

PAGE = ROOT / "docs" / "backbones.md"
# One architecture of each kind that open_clip has, the smallest one or nearly.
ARCHITECTURES = (
    "RN50-quickgelu", "RN50", "ViT-B-32-quickgelu", "ViT-B-32", "ViT-L-14-336-quickgelu", "ViT-L-14-CLIPA",
    "ViT-H-14-worldwide-quickgelu", "ViT-B-16-SigLIP", "ViT-B-16-SigLIP2", "coca_ViT-B-32", "EVA02-B-16",
    "convnext_base", "MobileCLIP2-S0", "PE-Core-B-16", "roberta-ViT-B-32",
    "xlm-roberta-base-ViT-B-32", "mt5-base-ViT-B-32", "nllb-clip-base", "BiomedCLIP",
)  # fmt: skip
NUMBERS = {
    "CLIP's": (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
    "0.5": ((0.5,) * 3, (0.5,) * 3),
    "0 and 1": ((0.0,) * 3, (1.0,) * 3),
    "ImageNet's": (open_clip.constants.IMAGENET_MEAN, open_clip.constants.IMAGENET_STD),
}
Need = tuple[bool, bool, str, bool]
NEEDS: dict[Need, str] = {
    (False, False, ANY_TEXT, False): "nothing: features of any towers",
    (False, False, CLIP_TEXT, False): "CLIP's own text tower",
    (False, False, ANY_TEXT, True): "an image tower of open_clip's own, which ends in a projection",
    (True, True, ANY_TEXT, False): "a ViT of open_clip's own that is read at its class token",
    (True, True, CLIP_TEXT, False): "such a ViT, and CLIP's own text tower",
    (True, False, TRANSFORMER, False): "any ViT and any text tower of open_clip's own",
}


def needs_of(method: str) -> Need:
    """What a method needs of an architecture: `needs_vit`, `needs_class_token`, `needs_text`, `before_projection`."""
    load_plugins()
    trainer: Any = TRAINER_REGISTRY.get(method)
    return trainer.needs_vit, trainer.needs_class_token, trainer.needs_text, trainer.before_projection


def methods_by_need() -> dict[Need, list[str]]:
    """All methods, grouped by what they need of an architecture."""
    groups: dict[Need, list[str]] = {need: [] for need in NEEDS}
    for method in known("trainers"):
        groups.setdefault(needs_of(method), []).append(method)
    return groups


def architectures_table() -> list[str]:
    """A row for each of `ARCHITECTURES`."""
    headings = (
        "architecture", "image tower", "pixels", "mean and std", "resized by", "text tower", "tokenizer",
        "prompts are cut after", "logit bias",
    )  # fmt: skip
    return table(headings, map(_row, ARCHITECTURES))


def _row(arch: str) -> tuple[str, ...]:
    config = architectures.settings(arch)
    published = transforms.published(arch)
    return (
        f"`{arch}`",
        _image_tower(arch),
        str(config["vision_cfg"].get("image_size", 224)),
        _means(arch),
        " or ".join(f"{way}, {mode}" for way in published["interpolation"] for mode in published["resize_mode"]) or "?",
        architectures.text_tower(arch) + (", not causal" if config["text_cfg"].get("no_causal_mask") else ""),
        architectures.hub_tokenizer(arch) or "CLIP's own",
        f"{architectures.context_length(arch)} tokens",
        "yes" if "init_logit_bias" in config else "no",
    )


def _image_tower(arch: str) -> str:
    name = architectures.settings(arch)["vision_cfg"].get("timm_model_name")
    return f"timm: {name}" if name else architectures.image_tower(arch)


def _means(arch: str) -> str:
    """Which means and standard deviations the weights tags of an architecture state."""
    tags = open_clip.list_pretrained_tags_by_model(arch)
    found = {}
    for tag in tags:
        config = {**transforms.OPENAI, **open_clip.get_pretrained_cfg(arch, tag)}
        pair = tuple(config["mean"] or transforms.OPENAI["mean"]), tuple(config["std"] or transforms.OPENAI["std"])
        found[next(name for name, numbers in NUMBERS.items() if numbers == pair)] = tag
    return " or ".join(found) or "?"


def methods_table() -> list[str]:
    """A row for each need: which methods have it, and on which of `ARCHITECTURES` they cannot run."""
    lines = []
    for need, methods in methods_by_need().items():
        if methods:
            refused = [f"`{arch}`" for arch in ARCHITECTURES if refusal(TRAINER_REGISTRY.get(methods[0]), arch=arch)]
            lines.append((NEEDS[need], ", ".join(methods), ", ".join(refused) or "none"))
    return table(("what is needed", "methods", "cannot run on"), lines)


def names_table() -> list[str]:
    """A row for each config in configs/backbones."""
    rows = []
    for name, path in config_files("backbones").items():
        body: Any = read_yaml(path)
        keys: Mapping[str, Any] = body["MODEL"]["BACKBONE"]
        size = architectures.settings(keys["ARCH"])["vision_cfg"].get("image_size", 224)
        prompts = [entry["SET"].get("PROMPTS", {}).get("POSITIVE", []) for entry in body.get("OVERRIDES", [])]
        templates = ", ".join(f'"{template}"' for group in prompts for template in group)
        weights = "bundled" if keys["ARCH"] in BUNDLED else keys["WEIGHTS"]
        rows.append((f"`{name}`", f"`{keys['ARCH']}`", f"`{weights}`", str(size), templates or "as the data set's"))
    return table(("`BACKBONE`", "architecture", "`WEIGHTS`", "pixels", "prompts for your own images"), rows)


TABLES = {"names": names_table, "architectures": architectures_table, "methods": methods_table}
