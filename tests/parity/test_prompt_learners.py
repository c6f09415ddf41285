"""KgCoOp and ProGrad against the authors' own code in float32, on a small text tower of random weights."""

from __future__ import annotations

import functools
import json
import tempfile
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from dassl.optim import build_optimizer
from helpers.golden import REPO
from helpers.golden_next import SHARED as SHARED_NEXT
from helpers.golden_next import NextGolden
from helpers.official import one_image
from simnl.clip.model import FrozenCLIP, load_clip
from simnl.clip.prompt_learning import LearnedPrompts, TextTower, context_from_words
from simnl.clip.text import PromptSet, class_weights
from simnl.fewshot.schedule import build_schedule
from simnl.fewshot.selection import accuracy
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from trainers.kgcoop import KgCoOpHead
from trainers.prograd import ProGradHead, padded_context, without_conflict

BUNDLED = REPO / "tests" / "goldens" / "prompt_learners.safetensors"
ARCH, WIDTH = "golden-text", 64
CONFIG = {
    "embed_dim": WIDTH,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": WIDTH, "heads": 2, "layers": 2},
}
NAMES = [
    *("banded", "blotchy", "braided", "bubbly", "bumpy", "chequered", "cobwebbed", "cracked", "crosshatched"),
    *("crystalline", "dotted", "fibrous", "flecked", "freckled", "frilly", "gauzy", "grid", "grooved", "honeycombed"),
    "interlaced_lines",
]
TEMPLATES = {"kgcoop": "a photo of a {}, a type of texture.", "prograd": "a texture of {}."}
RUNS = [("bundled-4", "kgcoop"), ("bundled-4", "prograd_noisy")]
RUNS += [(f"shared-{shots}", name) for shots in (1, 2, 4) for name in ("kgcoop", "prograd")]
RUNS += [("shared-16", "kgcoop"), ("shared-4", "prograd_noisy"), ("shared-16", "prograd_noisy")]


@functools.lru_cache
def golden_clip(source: str, key: str) -> FrozenCLIP:
    """The authors' small text tower as a CLIP of ours; its image tower is not used."""
    tower = load_file(BUNDLED if source == "bundled" else SHARED_NEXT / f"{key}_tower.safetensors")
    parts = {name.removeprefix(f"{key}/").removeprefix("tower/"): t.float() for name, t in tower.items()}
    with tempfile.TemporaryDirectory() as folder:
        config, weights = Path(folder) / f"{ARCH}.json", Path(folder) / "weights.safetensors"
        config.write_text(json.dumps(CONFIG))
        open_clip.add_model_config(config)
        with torch.random.fork_rng(devices=[]):
            state = open_clip.create_model(ARCH).state_dict()
        for name in set(state) & set(parts) - {"positional_embedding"}:
            state[name] = parts[name]
        state["token_embedding.weight"][parts["token_ids"].long()] = parts["token_embedding_rows"]
        state["positional_embedding"][: len(parts["positional_embedding"])] = parts["positional_embedding"]
        save_file({name: t.contiguous() for name, t in state.items()}, weights)
        return load_clip(ARCH, str(weights))


class Run:
    """One recorded training, and our head at its start."""

    def __init__(self, setting: str, name: str):
        self.key = name.split("_")[0]
        golden = self.golden = NextGolden(setting, f"{name}_K{{shots}}", BUNDLED)
        self.out = {
            k.removeprefix(f"{self.key}/"): v for k, v in golden.outputs.items() if k.startswith(f"{self.key}/")
        }
        labels = f"labels_{'noisy_' if 'noisy' in name else ''}K{golden.shots}"
        self.labels = golden.inputs[labels].long()
        self.clip = golden_clip(setting.split("-")[0], self.key)
        template = PromptSet.from_templates([TEMPLATES[self.key]], NAMES)
        raw = self.clip.text_rows(self.clip.tokenize(list(template.prompts)))
        self.frozen = class_weights(raw, torch.tensor(template.classes), len(NAMES), "normalize-mean-normalize")
        self.head = self.make_head()

    def make_head(self, **changes) -> KgCoOpHead | ProGradHead:
        tower, names = TextTower(self.clip), NAMES
        if self.key == "kgcoop":
            context, inputs = context_from_words(tower, "a photo of a"), {"anchors": self.frozen, "weight": 8.0}
        else:
            context, tail = padded_context(tower, "a texture of", 16)
            assert not tail
            inputs = {"teacher": self.frozen, "share": 1.0, "temperature": 1.0}
        prompts = LearnedPrompts(tower, names, len(context))
        common = {"prompts": prompts, "context": context, "logit_scale": self.out["logit_scale"].item(), "chunk": 0}
        head = KgCoOpHead if self.key == "kgcoop" else ProGradHead
        return head(**{**common, **inputs, **changes})

    def batches(self, size: int = 32):
        """(features, labels) of each step, by epoch; a short last batch is dropped unless it is the only one."""
        views, order = self.golden.shot_views(), self.golden.inputs[f"order_next_K{self.golden.shots}"].long()
        for epoch in order.split(len(self.labels)):
            parts = epoch.split(size)
            parts = parts if len(self.labels) < size else [p for p in parts if len(p) == size]
            yield [(views[p[:, 0], p[:, 1]], self.labels[p[:, 1]]) for p in parts]


def official_optim(head, trainer: str, epochs: int):
    """The preset's optimiser and schedule, at the golden run's rate."""
    files = [CONFIGS / "backbones" / "rn50.yaml", CONFIGS / "datasets" / "dtd.yaml"]
    settings = {"TRAINER.NAME": trainer, "PRESET": "official", "OPTIM.LR": 2e-5, "OPTIM.MAX_EPOCH": epochs}
    cfg = assemble([*files, CONFIGS / "trainers" / f"{trainer}.yaml"], [], settings).OPTIM
    optim = build_optimizer(head, cfg)
    return optim, build_schedule(optim, cfg, 1)


@pytest.mark.parametrize(("setting", "name"), RUNS, ids=["-".join(run) for run in RUNS])
def test_training_and_test(setting, name):
    run = Run(setting, name)
    head, out = run.head, run.out

    def close(ours: torch.Tensor, key: str, atol: float) -> None:
        if key in out:  # not every shot count has every tensor
            torch.testing.assert_close(ours.detach(), out[key], atol=atol, rtol=0)

    close(head.context, "ctx_init", 1e-7)
    close(run.frozen, "frozen_text", 5e-6)
    close(head.text_features(), "text_init", 5e-6)
    optim, schedule = official_optim(head, {"kgcoop": "KgCoOp", "prograd": "ProGrad"}[run.key], epochs=12)
    step = 0
    for epoch in run.batches():
        for features, labels in epoch:
            assert optim.param_groups[0]["lr"] == pytest.approx(out["lr"][step].item(), rel=1e-5)
            check_losses(run, features, labels, step)
            optim.zero_grad()
            sum(head.losses(features, labels).values()).backward()
            check_gradient(head.context.grad, out, "grad", step)
            optim.step()
            step += 1
            if step in (1, 5):
                torch.testing.assert_close(head.context.detach(), out[f"ctx_step{step}"], atol=2e-6, rtol=0)
        schedule.step()
    assert step == len(out["losses"])
    assert setting != "shared-16" or name != "prograd_noisy" or out["projected"].any()  # at K = 4 it never fires
    torch.testing.assert_close(head.context.detach(), out["ctx_end"], atol=1e-3, rtol=0)
    test, labels = run.golden.split("test")
    with torch.no_grad():
        close(head.text_features(), "text_end", 1e-3)
        if "test_logits" in out:  # of the bundled part, those of the first images
            close(head(test[: len(out["test_logits"])]), "test_logits", 5e-2)
    assert accuracy(head, test, labels) == pytest.approx(out["test_acc"].item(), abs=one_image(labels))


def check_losses(run: Run, features, labels, step: int) -> None:
    """The terms, and of ProGrad both gradients and whether they are in conflict."""
    head, theirs = run.head, run.out["losses"][step].tolist()
    if run.key == "kgcoop":
        losses = head.losses(features, labels)
        ours = [losses["ce"].item(), losses["kg"].item() / head.weight, sum(losses.values()).item()]
    else:
        ce, kl = head.terms(features, labels)
        (a,), (b,) = (torch.autograd.grad(loss, head.context, retain_graph=True) for loss in (ce, kl))
        check_gradient(b, run.out, "kl_grad", step)
        assert ((a * b).sum() < 0).item() == bool(run.out["projected"][step])
        check_gradient(without_conflict(a, b, 1.0), run.out, "grad", step)
        ours = [ce.item(), kl.item()]
    if step < 10:
        assert ours == pytest.approx(theirs, abs=1e-3)


def check_gradient(ours: torch.Tensor, out: dict, name: str, step: int) -> None:
    theirs = out.get(f"{name}_step{step}")
    if theirs is not None:
        tolerance = 2e-4 if step < 2 else 2e-2
        assert (ours - theirs).norm() <= tolerance * theirs.norm()
