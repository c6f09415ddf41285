"""Memory of one training step of the methods inside the towers, at ViT-B/16 in fp32.

The step is carried out on tensors that have a size and no content (torch's FakeTensorMode), and the bytes of all that
are alive at the same time are added up. So nothing is multiplied, and every machine gives the same figure.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.extraction import random_clip
from dassl.engine import TRAINER_REGISTRY
from simnl.clip.model import FrozenCLIP
from simnl.fewshot.schedule import learned_groups
from simnl.fewshot.support import SupportSet
from simnl.fewshot.task import FewShotTask
from simnl.locations import CONFIGS
from simnl.plugins import load_plugins
from simnl.runs.config import assemble

TITLE = "Memory of a step inside the towers"
METHODS = ("MaPLe", "IVLP", "VPT", "PromptSRC", "TwoStage", "CLIPSVD", "MMRL", "TCP", "CLIPLoRA")
BACKBONES = {"tiny": ("tiny_vit", "tiny-vit"), "fast": ("vit_b16", "ViT-B-16-quickgelu")}  # yaml, architecture
BACKBONES["full"] = BACKBONES["fast"]
CLASSES = {"tiny": (3, 300), "fast": (100, 1000), "full": (100, 1000)}
# Targets of PromptSRC come from 60 templates before the first step, to which their number means nothing.
OPTIONS = ["TRAINER.PROMPTSRC.TEMPLATES", "['a photo of a {}.']"]


class Alive(TorchDispatchMode):
    """Adds up the bytes of the tensors that operations make, while these are alive.

    Attributes:
        now, peak: bytes, at this time and at most.
        largest: bytes of the largest tensor.
    """

    def __init__(self, given: list[Tensor]):
        super().__init__()
        self.now = self.peak = self.largest = 0
        self._known = {tensor.untyped_storage()._cdata for tensor in given}  # those that were there before

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Called by torch for each operation."""
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                self._note(tensor.untyped_storage())
        return made

    def _note(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self.now += size
            self.peak, self.largest = max(self.peak, self.now), max(self.largest, size)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


@dataclass
class Step:
    """A step of a method at its start.

    learned: how many numbers; batch: images that the method takes at once; given: tensors that are there before.
    """

    run: Callable[[], None]
    learned: int
    batch: int
    given: list[Tensor]

    def memory(self) -> float:
        """MB that one step needs at most beyond what is given."""
        with Alive(self.given) as alive:
            self.run()
        return alive.peak / 2**20


def step_of(method: str, backbone: str, clip: FrozenCLIP, classes: int, more: int = 0, mode=None) -> Step:
    """Losses, gradients, and the optimiser's update.

    Args:
        method: a registered name.
        backbone: the yaml whose constants the method takes.
        clip: the frozen model.
        classes: C.
        more: images beyond the method's own batch.
        mode: a FakeTensorMode, whose tensors have no content; `clip` must have its tensors. None: a real step.
    """
    load_plugins()
    files = [CONFIGS / "backbones" / f"{backbone}.yaml", CONFIGS / "datasets" / "dtd.yaml"]
    cfg = assemble([*files, CONFIGS / "trainers" / f"{method}.yaml"], OPTIONS, {"TRAINER.NAME": method, "SEED": 1})
    trainer = TRAINER_REGISTRY.get(method).__new__(TRAINER_REGISTRY.get(method))
    trainer.cfg, batch = cfg, cfg.DATALOADER.TRAIN_X.BATCH_SIZE + more
    names = tuple(f"small object {i}" for i in range(classes))
    task = FewShotTask.of(SupportSet.empty(clip.image_dim), {}, names, 16, clip, clip.device, ["a photo of a {}."])
    head = trainer.build_head(task, trainer.node)
    side = clip.preprocess["size"]
    pixels = (3, *(side if isinstance(side, tuple) else (side, side)))
    images = torch.randn(batch, *((clip.image_dim,) if trainer.image_encoder_frozen else pixels))
    labels = torch.arange(batch) % classes
    if mode is not None:
        empty(head, mode)
        images = mode.from_tensor(images)
    optimiser = trainer.build_optim(learned_groups(head, cfg.OPTIM))

    def run() -> None:
        sum(head.losses(images, labels).values()).backward()
        optimiser.step()

    models = (clip.model, head)
    given = [tensor for model in models for tensor in (*model.parameters(), *model.buffers())]
    return Step(run, sum(p.numel() for p in head.parameters()), batch, [*given, images, labels])


def empty(model: nn.Module, mode: FakeTensorMode) -> None:
    """Take the content away from a model's tensors, but for whole numbers, which say where tokens are."""
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None or isinstance(tensor, FakeTensor) or not tensor.is_floating_point():
                    continue
                fake = mode.from_tensor(tensor.detach())
                is_parameter = isinstance(tensor, nn.Parameter)
                tensors[name] = nn.Parameter(fake, tensor.requires_grad) if is_parameter else fake


def run(size: str) -> dict:
    """Rows for the table."""
    backbone, arch = BACKBONES[size]
    rows, mode = [], FakeTensorMode(allow_non_fake_inputs=True)
    with tempfile.TemporaryDirectory() as folder:
        clip = random_clip(arch, Path(folder), "fp32")
    empty(clip.model, mode)
    for method in METHODS:
        image = None
        for classes in CLASSES[size]:
            step = step_of(method, backbone, clip, classes, mode=mode)
            used = step.memory()
            if image is None:  # the same for any number of classes
                image = step_of(method, backbone, clip, classes, 1, mode).memory() - used
            rows.append(
                {
                    "what": f"{method}, C = {classes}, B = {step.batch}",
                    "memory_beyond_inputs": {"fast": used},
                    "note": f"{step.learned:,} learned numbers; {image:,.0f} MB for each further image",
                }
            )
    return {"rows": rows}
