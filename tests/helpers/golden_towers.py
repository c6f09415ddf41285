"""Golden tensors of methods inside the towers: a tiny ViT CLIP, and what the authors' own modules compute on it."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from types import SimpleNamespace

import open_clip
import pytest
import torch
from safetensors.torch import load_file

from simnl.clip.model import FrozenCLIP

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "golden_towers"
VISION = {"layers": 4, "width": 128, "patch_size": 8, "image_size": 32, "head_width": 64}
TEXT = {"width": 64, "heads": 1, "layers": 4}
TOLERANCE = 3e-4  # of parameters after steps, and of what follows from them
TOLERANCES = {"image_features": 1e-5, "text_features": 1e-5, "logits": 2e-5, "loss": 5e-5, "term": 5e-5, "grad": 1e-4}


def need() -> None:
    """Skip, visibly, where the folder is absent."""
    if not FOLDER.is_dir():
        pytest.skip(f"{FOLDER} is not here: parity with the authors' modules is not checked")


@functools.lru_cache(maxsize=1)
def clip() -> FrozenCLIP:
    """The tiny CLIP; unused rows of its token table are zero."""
    need()
    state = load_file(FOLDER / "clip.safetensors")
    ids, rows = state.pop("token_embedding.ids"), state.pop("token_embedding.rows")
    state["token_embedding.weight"] = torch.zeros(49408, rows.shape[1]).index_copy(0, ids.long(), rows)
    model = open_clip.CLIP(48, VISION, TEXT, quick_gelu=True)
    model.load_state_dict(state)
    return frozen(model.eval().requires_grad_(False), 48)


def frozen(model: open_clip.CLIP, width: int) -> FrozenCLIP:
    """A model of a test's own as the program sees models."""
    scale = float(model.logit_scale.exp())
    return FrozenCLIP(model, "ViT-B-32", "none", "fp32", torch.device("cpu"), "", {}, scale, 0.0, width, 77)


class Recorded:
    """What the authors' modules gave for one method: `tensors` by key, `settings`, and the inputs."""

    def __init__(self, method: str):
        need()
        index = json.loads((FOLDER / "index.json").read_text())
        self.method, self.settings = method, index[method]["settings"]
        self.tensors = load_file(FOLDER / f"{method}.safetensors")
        self.inputs = load_file(FOLDER / "inputs.safetensors")
        self.images, self.labels = self.inputs["images"], self.inputs["labels"].long()
        names = index["inputs"]["settings"]
        self.classes, self.new = tuple(names["classes"]), tuple(names["new"])

    def task(self, names: tuple[str, ...] | None = None) -> SimpleNamespace:
        """What `build_head` is given."""
        names = names or self.classes
        known = {"logit_scale": clip().logit_scale, "templates": ("a photo of a {}.",)}
        return SimpleNamespace(clip=clip(), classnames=names, num_classes=len(names), num_shots=1, **known)

    def steps(self):
        """(images, labels) of the three steps."""
        for rows in self.inputs["batches"].long():
            yield self.images[rows], self.labels[rows]

    def start(self, head: torch.nn.Module, names: dict[str, str], prefix: str = "init/") -> None:
        """Give a head the authors' values at the start; names: its parameters -> the authors'."""
        own = dict(head.named_parameters())
        assert set(own) == set(names)
        for name, parameter in own.items():
            parameter.data = self.tensors[prefix + names[name]].reshape(parameter.shape).clone()

    def close(self, key: str, ours: torch.Tensor, tolerance: float | None = None, rows: torch.Tensor | None = None):
        """Largest difference over the largest value; rows: True where a tensor is compared."""
        theirs = self.tensors[key].reshape(ours.shape)
        limit = tolerance or TOLERANCES.get(key.split("/")[0], TOLERANCE)
        difference = (ours.detach() - theirs).abs()
        difference = difference if rows is None else difference[rows.reshape(ours.shape)]
        assert difference.max() <= limit * theirs.abs().max(), (key, float(difference.max() / theirs.abs().max()))

    def check_steps(self, head, names: dict[str, str], optim: torch.optim.Optimizer, tolerance: float | None = None):
        """Loss, gradients, and parameters after 1 and 3 steps at a constant rate."""
        kept = dict.fromkeys(names)
        for number, (images, labels) in enumerate(self.steps()):
            terms = head.losses(images, labels)
            loss = sum(terms.values())
            self.close(f"loss/{number}", loss, tolerance)
            optim.zero_grad()
            loss.backward()
            for name, parameter in head.named_parameters():
                if number == 0:
                    self.close(f"grad/{names[name]}", parameter.grad, tolerance)
                    grad = self.tensors[f"grad/{names[name]}"].abs()
                    kept[name] = grad >= 1e-4 * grad.max() if "adam" in type(optim).__name__.lower() else grad >= 0
            optim.step()
            for name, parameter in head.named_parameters():
                if number in (0, 2):
                    self.close(f"step{number + 1}/{names[name]}", parameter, tolerance, kept[name])


def optimiser(recorded: Recorded, head: torch.nn.Module) -> torch.optim.Optimizer:
    """The recorded one, at its constant rate."""
    o = recorded.settings["optim"]
    if o["name"] == "sgd":
        return torch.optim.SGD(head.parameters(), o["lr"], o["momentum (sgd)"], weight_decay=o["weight_decay"])
    kind = torch.optim.Adam if o["name"] == "adam" else torch.optim.AdamW
    return kind(head.parameters(), o["lr"], eps=o["eps (adam)"], weight_decay=o["weight_decay"])
