"""Facts about architectures from their configs alone. No weights are loaded or fetched, and PyTorch is not imported.

The json files in this folder are architectures that open_clip does not list, because their configs are published with
their weights; `simnl.clip.model` tells open_clip of them.

    BiomedCLIP.json: open_clip_config.json of huggingface.co/microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224
"""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path
from typing import Any

from simnl.clip.bundled import BUNDLED
from simnl.files import sha256_of

OWN = Path(__file__).resolve().parent  # the folder of these configs
CONTEXT_LENGTH = 77  # for a config that states none: open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH

# Image towers.
VIT = "ViT"  # open_clip's own, whose class token is the feature
POOLED_VIT = "ViT, pooled"  # open_clip's own, with an attentional or an average pool behind the blocks
RESNET = "CLIP's ResNet"
TIMM = "timm"
# Text towers.
CLIP_TEXT = "CLIP's"  # open_clip's transformer over tokens of CLIP's own encoding, read at the end of the text
TRANSFORMER = "open_clip's, read elsewhere"  # its transformer over other tokens, or read at a class token or the last
HUGGING_FACE = "Hugging Face"
UNKNOWN = ""


def model_config(arch: str) -> dict | None:
    """The config of an architecture, bundled or open_clip's; None for an unknown one."""
    if arch in BUNDLED:
        return BUNDLED[arch].settings()
    own = _listed(arch)
    if own is not None:
        return own
    import open_clip  # imported late, for rare names only (of a model hub, or misspelt), because it imports PyTorch

    return open_clip.get_model_config(arch)


def _listed(arch: str) -> dict | None:
    """The content of the config of this name, in `OWN` or among those of open_clip; None if there is no such file."""
    spec = util.find_spec("open_clip")
    theirs = [Path(folder) / "model_configs" for folder in (spec.submodule_search_locations or ())] if spec else []
    for folder in (OWN, *theirs):
        path = folder / f"{arch}.json"
        if Path(arch).name == arch and path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
    return None


def is_known(arch: str, weights: str) -> bool:
    """True for a bundled model with its own weights, and for an architecture of open_clip with weights in a file."""
    if arch in BUNDLED:
        return weights == "bundled"
    return Path(weights).is_file() and _listed(arch) is not None


def weights_identity(arch: str, weights: str) -> str:
    """How the name of a run identifies the weights: by the SHA-256 (hex) of their file, or by their tag."""
    path = BUNDLED[arch].weights if arch in BUNDLED else Path(weights)
    return sha256_of(path) if path.is_file() else weights


def settings(arch: str) -> dict[str, Any]:
    """The model config of an architecture in open_clip's form; empty for an unknown one."""
    return model_config(arch) or {}


def image_tower(arch: str) -> str:
    """The kind of image tower of an architecture."""
    vision = settings(arch).get("vision_cfg", {})
    if vision.get("timm_model_name"):
        return TIMM
    layers = vision.get("layers")
    if isinstance(layers, list | tuple):
        return RESNET
    pooled = vision.get("attentional_pool") or vision.get("final_ln_after_pool") or vision.get("pool_type") == "avg"
    return UNKNOWN if layers is None else POOLED_VIT if pooled else VIT


def text_tower(arch: str) -> str:
    """The kind of text tower of an architecture."""
    text = settings(arch).get("text_cfg")
    if text is None:
        return UNKNOWN
    if text.get("hf_model_name"):
        return HUGGING_FACE
    read_at_end = text.get("pool_type", "argmax") == "argmax" and not text.get("embed_cls")
    return CLIP_TEXT if read_at_end and not text.get("hf_tokenizer_name") else TRANSFORMER


def has_projection(arch: str) -> bool:
    """True for open_clip's own image towers, which end in a projection: a ViT, or CLIP's ResNet."""
    return image_tower(arch) in (VIT, POOLED_VIT, RESNET)


def context_length(arch: str) -> int:
    """The number of tokens, with start and end, after which prompts are cut."""
    return settings(arch)["text_cfg"].get("context_length", CONTEXT_LENGTH)


def hub_tokenizer(arch: str) -> str:
    """The repository or folder of a tokenizer that the package transformers reads; empty for CLIP's own encoding."""
    return settings(arch).get("text_cfg", {}).get("hf_tokenizer_name") or ""


def hub_text_config(arch: str) -> str:
    """The repository or folder of the config of a Hugging Face text tower; empty for open_clip's own towers."""
    return settings(arch).get("text_cfg", {}).get("hf_model_name") or ""


def captions(arch: str) -> bool:
    """True for CoCa, whose model has a decoder of captions besides the two towers."""
    return "multimodal_cfg" in settings(arch)
