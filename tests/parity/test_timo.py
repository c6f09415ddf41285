"""TIMO and TIMO-S against the authors' own code in float32, for every shot count."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from helpers.golden_next import NextGolden
from helpers.official import one_image
from simnl.fewshot.loaders import LabelledFeatures
from simnl.fewshot.search import choose, count_grid
from simnl.fewshot.selection import accuracy
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from trainers.timo import TIMO, TIMOS, TIMOHead, guided_text, prompt_match


@pytest.fixture(params=["bundled-4", *(f"shared-{shots}" for shots in (1, 2, 4, 16))])
def golden(request) -> NextGolden:
    return NextGolden(request.param, "timo_K{shots}")


def searched(golden: NextGolden, kind: type[TIMO], monkeypatch) -> tuple[TIMOHead, torch.Tensor]:
    """The head of the official preset after its search, and the counts of the grid."""
    trainer, method = kind.__new__(kind), kind.__name__
    files = [CONFIGS / "datasets" / "dtd.yaml", CONFIGS / "trainers" / f"{method}.yaml"]
    trainer.cfg = assemble(files, [], {"TRAINER.NAME": method, "PRESET": "official"})
    task = SimpleNamespace(
        text_rows=lambda *names: golden.inputs["prompts"],
        prompts=("template", "cupl"),
        cache_keys=lambda: golden.cache_keys,
        support_features=golden.shot_views(),
        support_labels=golden.labels,
        device=torch.device("cpu"),
    )
    trainer.head = trainer.build_head(task, trainer.node)
    trainer.validation, trainer.num_val = LabelledFeatures(*golden.split("val")), 400
    trainer.fit()
    grid = trainer.search_space(trainer.node)
    counts = count_grid(trainer.head, *golden.split("val"), grid)
    trainer.head.hparams.update(choose(counts, grid, trainer.head.hparams, trainer.cfg.SEARCH.TIES))
    return trainer.head, counts[0]


def check_tested(golden: NextGolden, head: TIMOHead, prefix: str) -> None:
    out, place = golden.outputs, head.betas.index(head.hparams["beta"])
    assert head.hparams["alpha"] == pytest.approx(out[f"{prefix}/alpha"].item())
    for ours, name in ((head.weights[place].T, "W"), (head.biases[place], "b")):
        golden.check(ours, f"{prefix}/{name}", 1e-4 * out[f"{prefix}/{name}"].abs().max().item())
    features, labels = golden.split("test")
    with torch.no_grad():
        golden.check(head(features), f"{prefix}/test_logits", 1e-4 * out[f"{prefix}/test_logits"].abs().max().item())
    assert accuracy(head, features, labels) == pytest.approx(out[f"{prefix}/test_acc"].item(), abs=one_image(labels))


def test_image_guides_text(golden):
    prompts = golden.inputs["prompts"]
    match = prompt_match(prompts, golden.cache_keys, golden.labels)
    golden.check(match, "timo_all/match", 2e-6)
    for name, gamma in (("dtd", 50), ("oxford_flowers", 100), ("imagenet", 1)):
        golden.check(guided_text(prompts, match, gamma), f"timo_all/igt_{name}", 5e-6)


def test_timo(golden, monkeypatch):
    head, counts = searched(golden, TIMO, monkeypatch)
    theirs = golden.outputs["timo/val_acc"]
    assert (counts[0] / 4 - theirs).abs().max() <= 0.25 + 1e-4  # 400 images
    check_tested(golden, head, "timo")


def test_timo_s(golden, monkeypatch):
    head, counts = searched(golden, TIMOS, monkeypatch)
    out = golden.outputs
    assert head.hparams["gamma"] == out["timo_s/gamma"].item()
    assert head.hparams["beta"] == out["timo_s/beta"].item()
    assert (counts / 4 - out["timo_s/val_acc"]).abs().max() <= 0.25 + 1e-4
    golden.check(head.text[head.gammas.index(head.hparams["gamma"])], "timo_s/text", 5e-6)
    check_tested(golden, head, "timo_s")


def test_every_number_of_pseudo_images(golden):
    assert golden.outputs["timo_s/betas"].tolist() == TIMOS.betas(TIMOS, SimpleNamespace(BETAS=10), 9)


def test_without_guidance_the_text_is_the_mean_of_the_prompts(golden):
    prompts = golden.inputs["prompts"]
    match = prompt_match(prompts, golden.cache_keys, golden.labels)
    torch.testing.assert_close(guided_text(prompts, match, 0.0), F.normalize(prompts.mean(1), dim=-1))
