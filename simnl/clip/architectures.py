"""What is known of architectures and weights before a model is loaded, without importing PyTorch or open_clip.

Two models come with the program (`tiny_clip/`); the others are open_clip's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import util
from pathlib import Path

from simnl.files import sha256_of


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
        """What `tiny_clip.save_state_dict` wrote."""
        return self.folder / "weights.safetensors"

    @property
    def metrics(self) -> Path:
        """What tools/train_tiny_clip.py measured."""
        return self.folder / "metrics.json"

    @property
    def card(self) -> Path:
        """What people read about the model."""
        return self.folder / "MODEL_CARD.md"

    def settings(self) -> dict:
        """The content of `config`."""
        return json.loads(self.config.read_text(encoding="utf-8"))


HERE = Path(__file__).resolve().parent / "tiny_clip"

RESNET = Bundled("tiny-clip", HERE)
VIT = Bundled("tiny-vit", HERE / "vit")
BUNDLED = {model.arch: model for model in (RESNET, VIT)}


def model_config(arch: str) -> dict | None:
    """The config of an architecture, bundled or open_clip's; None for one that nobody knows."""
    if arch in BUNDLED:
        return BUNDLED[arch].settings()
    own = _of_open_clip(arch)
    if own is not None:
        return own
    import open_clip  # late: it imports PyTorch, and only rare names (of a model hub, or misspelt) come here

    return open_clip.get_model_config(arch)


def _of_open_clip(arch: str) -> dict | None:
    """What the file of this name among open_clip's configs says; None where there is no such file."""
    spec = util.find_spec("open_clip")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "model_configs" / f"{arch}.json"
        if Path(arch).name == arch and path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
    return None


def is_known(arch: str, weights: str) -> bool:
    """True for a bundled model with its own weights, and for an architecture of open_clip with weights in a file."""
    if arch in BUNDLED:
        return weights == "bundled"
    return Path(weights).is_file() and _of_open_clip(arch) is not None


def weights_identity(arch: str, weights: str) -> str:
    """What stands for the weights in the name of a run: the SHA-256 (hex) of their file, or their tag."""
    path = BUNDLED[arch].weights if arch in BUNDLED else Path(weights)
    return sha256_of(path) if path.is_file() else weights
