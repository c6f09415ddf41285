"""Small heads of many kinds, and the files that were made of them when the format of files got its number.

`PYTHONPATH=..:. python -m helpers.golden_heads FOLDER` in `tests/` writes such files. Those in goldens/heads/ are never
written again: all later releases must load them.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from helpers.methods import CLIP, make_trainer
from simnl.clip.text import PromptFeatures
from simnl.fewshot import head_file
from simnl.fewshot.description import BackboneDescription, HeadDescription
from simnl.fewshot.head import Head
from simnl.fewshot.task import FewShotTask

CLASSES, SHOTS, VIEWS, ROWS = 3, 2, 2, 4
NAMES = ("owl", "red fox", "yak")
METHODS = ("ZeroshotCLIP", "SimNL", "TipAdapter", "TipAdapterF", "APE", "APET", "GDA", "ProKeR", "LinearProbe",
           "CLIPAdapter", "TaskRes", "LPPlusPlus", "CoCoOp")  # fmt: skip
WITH_NEGATIVE = ("TipAdapterF", "TaskRes")
EXPECTED = "expected.safetensors"  # `<method>.features` and `<method>.logits`


def width_of(method: str) -> int:
    """D: 8, or that of the tiny CLIP where a head needs its text tower."""
    return CLIP.embed_dim if method == "CoCoOp" else 8


def trained(method: str) -> tuple[Head, HeadDescription, torch.Tensor]:
    """A head as if it had been trained, its description, and features (ROWS, D)."""
    generator, width = torch.Generator().manual_seed(3), width_of(method)

    def noise(*shape):
        return torch.randn(*shape, generator=generator)

    labels = torch.arange(CLASSES).repeat_interleave(SHOTS)
    prompts = {name: PromptFeatures(noise(CLASSES, width), torch.arange(CLASSES)) for name in ("template", "negative",
               "cupl")}  # fmt: skip
    task = FewShotTask(
        noise(VIEWS, len(labels), width), labels, labels, prompts, NAMES, SHOTS, 20.0, CLIP, torch.device("cpu")
    )
    trainer = make_trainer(method)
    node = trainer.node.clone()
    node.defrost()
    if method in WITH_NEGATIVE:
        node.NEGATIVE.ENABLED = True
    head = trainer.build_head(task, node)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.1 * noise(*parameter.shape))
    hparams = getattr(head, "hparams", {})
    hparams |= {name: 1.25 * value for name, value in hparams.items()}
    about = HeadDescription(
        method=method,
        classnames=NAMES,
        backbone=replace(BackboneDescription.of(CLIP, "tiny"), width=width),
        hparams=hparams,
        num_shots=SHOTS,
        protocol="fewshot-val",
        support=tuple(f"{NAMES[label]}/{row}.png" for row, label in enumerate(labels.tolist())),
    )
    return head.eval(), about, noise(ROWS, width)


def write(folder: Path) -> None:
    """A file for each head, and what it says of some features."""
    folder.mkdir(parents=True)
    expected = {}
    for method in METHODS:
        head, about, features = trained(method)
        head_file.save(folder / f"{method}.safetensors", head, about)
        with torch.no_grad():
            expected |= {f"{method}.features": features, f"{method}.logits": head(features)}
    save_file(expected, folder / EXPECTED)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
