"""SimNL against the authors' own code: every stage, in float32, for every shot count."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.golden import SETTINGS, Golden
from simnl.fewshot.search import Grid, axis, choose, count_grid
from simnl.fewshot.selection import accuracy
from trainers.simnl import SimNLHead, SimNLOptions

OFFICIAL = SimNLOptions(negative_keys="slot", reweight_size="shots", consistency_axis="channel")
NAMES = {
    "pos.res_template": "positive_text.template.residual",
    "pos.res_cupl": "positive_text.cupl.residual",
    "pos.res_keys": "positive_cache.residual",
    "neg.res_negative": "negative_text.residual",
    "neg.res_keys2": "negative_cache.residual",
}
ATOL = {"keys": 1e-6, "loss": 1e-5, "parameter": 1e-5, "logits": 1e-3}


def labels_of(golden: Golden) -> torch.Tensor:
    return golden.inputs[f"labels_K{golden.shots}"].long()


def official_head(golden: Golden, labels: torch.Tensor | None = None, options: SimNLOptions = OFFICIAL) -> SimNLHead:
    cfg, classes = golden.meta["cfg"]["simnl"], labels_of(golden)
    return SimNLHead(
        template=golden.text("template"),
        cupl=golden.text("cupl"),
        negative=golden.text("negative"),
        cache_keys=golden.inputs[f"cache_keys_K{golden.shots}"].T.contiguous(),
        labels=classes if labels is None else labels,
        classes=classes,
        logit_scale=100.0,
        num_shots=golden.shots,
        options=options,
        beta=cfg["init_beta"],
        alpha=cfg["init_alpha"],
        lam=cfg["init_lambda"],
    )


def train(golden: Golden, head: SimNLHead, labels: torch.Tensor):
    """The official loop on the recorded batches; yields the step number and the losses after each update."""
    cfg = golden.meta["cfg"]["simnl"]
    batches = list(golden.batches(labels, golden.meta["batch_size"]))
    groups = [{"params": params, "lr": cfg["lr"] * factor} for factor, params in head.parameter_groups()]
    optim = torch.optim.AdamW(groups, eps=cfg["eps"], weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optim, len(batches))
    for step, (features, target) in enumerate(batches, 1):
        losses = head.losses(features, target)
        optim.zero_grad()
        sum(losses.values()).backward()
        optim.step()
        schedule.step()
        yield step, {name: value.item() for name, value in losses.items()}


def grid_of(golden: Golden) -> Grid:
    cfg = golden.meta["cfg"]["simnl"]
    low, high, steps = cfg["search_scale"], cfg["search_scale2"], cfg["search_step"]
    return Grid({name: axis(low[i], high[i], steps[i]) for name, i in (("beta", 0), ("alpha", 1), ("lam", 4))})


def close(ours: torch.Tensor, theirs: torch.Tensor, kind: str) -> None:
    torch.testing.assert_close(ours.detach().float(), theirs.float(), atol=ATOL[kind], rtol=0)


@pytest.fixture(params=SETTINGS)
def golden(request) -> Golden:
    return Golden(request.param)


def test_cache_keys_and_negative_keys(golden):
    keys = F.normalize(golden.shot_views().mean(0), dim=-1)
    close(keys, golden.inputs[f"cache_keys_K{golden.shots}"].T, "keys")
    close(official_head(golden).negative_cache.keys, golden.outputs["simnl/negative_cache_keys"], "keys")


def test_instance_weights(golden):
    labels, weights = labels_of(golden), official_head(golden).positive_cache.weights
    values = F.one_hot(labels).float() * weights[:, None]
    if golden.shots == 1:  # the authors' code divides 0 by 0; ours must not
        assert golden.outputs["simnl/soft_cache_values"].isnan().any()
        assert torch.equal(weights, torch.ones(len(labels)))
    else:
        close(values, golden.outputs["simnl/soft_cache_values"], "keys")


def test_one_shot_is_finite():
    golden = Golden("shared-1")
    head = official_head(golden)
    losses = [sum(terms.values()) for _, terms in train(golden, head, labels_of(golden))]
    assert all(torch.isfinite(torch.tensor(losses)))
    assert accuracy(head, golden.inputs["test"], golden.inputs["y_test"]) > golden.meta["summary"]["1"]["zs"] - 1


def test_training_selection_search_and_test(golden):
    if golden.shots == 1:
        pytest.skip("the authors' code gives NaN at one shot")
    out, head = golden.outputs, official_head(golden)
    val, y_val, test, y_test = (golden.inputs[k] for k in ("val", "y_val", "test", "y_test"))
    with torch.no_grad():
        close(head(test), out["simnl/init_test_logits"], "logits")
    steps = len(out["simnl/loss_total"])
    steps_per_epoch = steps // len(out["simnl/val_acc"])
    scores, states = [], []
    for step, losses in train(golden, head, labels_of(golden)):
        assert losses["ce"] == pytest.approx(out["simnl/loss_ce"][step - 1].item(), abs=ATOL["loss"])
        assert losses["rerank"] == pytest.approx(out["simnl/loss_rerank"][step - 1].item(), abs=ATOL["loss"])
        consistency = losses["consistency"] / OFFICIAL.consistency_weight
        assert consistency == pytest.approx(out["simnl/loss_consistency"][step - 1].item(), abs=ATOL["loss"])
        for theirs, ours in NAMES.items():
            if step == 1:
                grad = head.get_parameter(ours).grad
                torch.testing.assert_close(grad, out[f"simnl/grad_step1/{theirs}"], atol=1e-5, rtol=1e-3)
            if step == 5:
                close(head.get_parameter(ours), out[f"simnl/params_step5/{theirs}"], "parameter")
        if step % steps_per_epoch == 0:
            scores.append(accuracy(head, val, y_val))
            states.append({k: v.clone() for k, v in head.state_dict().items()})
    for theirs, ours in NAMES.items():
        close(head.get_parameter(ours), out[f"simnl/params_last/{theirs}"], "parameter")
    one_sample = 100 / len(y_val) + 1e-4
    assert torch.tensor(scores).sub(out["simnl/val_acc"]).abs().max() <= one_sample
    with torch.no_grad():
        close(head(val), out["simnl/val_logits_last_epoch"], "logits")
    check_search_and_test(golden, head, states[int(out["simnl/best_epoch"])], "simnl", val, y_val, test, y_test)


def check_search_and_test(golden, head, state, prefix, val, y_val, test, y_test):
    out, grid = golden.outputs, grid_of(golden)
    head.load_state_dict(state)
    counts = count_grid(head, val, y_val, grid)
    ours, theirs = counts * 100 / len(y_val), out[f"{prefix}/grid_val_acc"]
    assert (ours - theirs).abs().max() <= 100 / len(y_val) + 1e-4
    assert (ours - theirs).abs().gt(1e-3).float().mean() < 0.01  # one sample off on at most 1 % of the points
    chosen = choose(counts, grid, head.hparams, "first")
    best = out[f"{prefix}/grid_best"].tolist()
    if list(chosen.values()) != pytest.approx(best):
        assert theirs.max() - ours.max() <= 1e-3  # another point of equal accuracy
    head.hparams.update(zip(("beta", "alpha", "lam"), best, strict=True))
    with torch.no_grad():
        close(head(test), out[f"{prefix}/test_logits"], "logits")
    assert abs(accuracy(head, test, y_test) - out[f"{prefix}/test_acc"].item()) <= 100 / len(y_test) + 1e-4


def test_evaluated_on_a_shifted_domain():
    golden = Golden("shared-16")
    head = official_head(golden)
    states = []
    per_epoch = len(golden.outputs["simnl/loss_total"]) // len(golden.outputs["simnl/val_acc"])
    for step, _ in train(golden, head, labels_of(golden)):
        if step % per_epoch == 0:
            states.append({k: v.clone() for k, v in head.state_dict().items()})
    shifted = [golden.inputs[k] for k in ("val_shift", "y_val_shift", "test_shift", "y_test_shift")]
    check_search_and_test(golden, head, states[int(golden.outputs["simnl_shift/best_epoch"])], "simnl_shift", *shifted)


@pytest.mark.parametrize("shots", [4, 16])
def test_noisy_labels(shots):
    golden = Golden(f"shared-{shots}")
    out, noisy = golden.outputs, golden.inputs[f"labels_noisy_K{shots}"].long()
    head = official_head(golden, noisy)
    close(head.negative_cache.keys, out["simnl_noisy/negative_cache_keys"], "keys")
    values = F.one_hot(noisy, golden.meta["spec"]["C"]) * head.positive_cache.weights[:, None]
    close(values, out["simnl_noisy/soft_cache_values"], "keys")
    for step, losses in train(golden, head, noisy):
        assert sum(losses.values()) == pytest.approx(out["simnl_noisy/loss_total"][step - 1].item(), abs=2e-5)
    for theirs, ours in NAMES.items():
        close(head.get_parameter(ours), out[f"simnl_noisy/params_last/{theirs}"], "parameter")


def test_half_precision_learning():
    """A different optimiser in effect; compared as a trajectory: the losses stay within 3 % of theirs."""
    golden = Golden("shared-16")
    options = SimNLOptions(**{**OFFICIAL.__dict__, "precision": "fp16"})
    head = official_head(golden, options=options)
    assert all(p.dtype is torch.float16 for p in head.parameters())
    ours = torch.tensor([sum(losses.values()) for _, losses in train(golden, head, labels_of(golden))])
    theirs, plain = golden.outputs["simnl_fp16/loss_total"], golden.outputs["simnl/loss_total"]
    assert (ours / theirs - 1).abs().mean() < 0.03
    assert (ours - theirs).abs().mean() < (plain - theirs).abs().mean()  # nearer than full precision is
    test = accuracy(head, golden.inputs["test"], golden.inputs["y_test"])
    assert abs(test - golden.outputs["simnl_fp16/test_acc"].item()) < 3
