"""The places of the two bundled models. This module imports neither PyTorch nor open_clip."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Bundled:
    """A bundled model: its architecture's name, and the folder of its files."""

    arch: str
    folder: Path

    @property
    def config(self) -> Path:
        """open_clip's model config; its stem is the architecture's name."""
        return self.folder / f"{self.arch}.json"

    @property
    def weights(self) -> Path:
        """The weights file, which `tiny_clip.save_state_dict` wrote."""
        return self.folder / "weights.safetensors"

    @property
    def metrics(self) -> Path:
        """The file of the figures that tools/train_tiny_clip.py measured."""
        return self.folder / "metrics.json"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.folder / "MODEL_CARD.md"

    def settings(self) -> dict:
        """The content of `config`."""
        return json.loads(self.config.read_text(encoding="utf-8"))


HERE = Path(__file__).resolve().parent / "tiny_clip"

RESNET = Bundled("tiny-clip", HERE)
VIT = Bundled("tiny-vit", HERE / "vit")
BUNDLED = {model.arch: model for model in (RESNET, VIT)}
