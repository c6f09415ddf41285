"""What is read from the config of an architecture, without loading anything."""

from __future__ import annotations

import pytest

from simnl.clip import architectures
from simnl.clip.architectures import CLIP_TEXT, HUGGING_FACE, POOLED_VIT, RESNET, TIMM, TRANSFORMER, UNKNOWN, VIT


@pytest.mark.parametrize(
    ("arch", "image", "text"),
    [
        ("ViT-L-14-quickgelu", VIT, CLIP_TEXT),
        ("RN50", RESNET, CLIP_TEXT),
        ("tiny-clip", RESNET, CLIP_TEXT),  # which open_clip does not know before it has been loaded
        ("tiny-vit", VIT, CLIP_TEXT),
        ("coca_ViT-B-32", POOLED_VIT, TRANSFORMER),
        ("ViT-L-14-CLIPA", POOLED_VIT, TRANSFORMER),
        ("ViT-H-14-worldwide", VIT, TRANSFORMER),
        ("ViT-B-16-SigLIP", TIMM, TRANSFORMER),
        ("convnext_base", TIMM, CLIP_TEXT),
        ("BiomedCLIP", TIMM, HUGGING_FACE),
        ("unknown", UNKNOWN, UNKNOWN),
    ],
)
def test_towers_are_known_by_their_config(arch, image, text):
    assert (architectures.image_tower(arch), architectures.text_tower(arch)) == (image, text)
    assert architectures.has_projection(arch) == (image in (VIT, POOLED_VIT, RESNET))


def test_every_architecture_has_towers_and_a_context_length():
    import open_clip

    for arch in open_clip.list_models():
        assert architectures.image_tower(arch)
        assert architectures.text_tower(arch)
        assert architectures.context_length(arch) >= 16
