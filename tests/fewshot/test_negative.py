"""The negative branch that other methods carry: formulas, loss and gradient in float64; off, nothing changes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from dassl.engine import TRAINER_REGISTRY
from helpers.brute_force import counts_of
from simnl.clip.text import PromptFeatures
from simnl.fewshot.head import SearchableHead
from simnl.fewshot.negative import NegativeBranch, NegativeOptions, with_negative
from simnl.fewshot.search import axis, count_grid
from simnl.fewshot.task import FewShotTask
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from trainers.simnl import SimNLHead, SimNLOptions
from trainers.task_res import TaskResHead
from trainers.tip_adapter import TipAdapterHead

C, D, SCALE = 4, 6, 10.0
CARRIERS = ["TaskRes", "TipAdapterF"]
LABELS = {"equal": [0, 0, 1, 1, 2, 2, 3, 3], "unequal": [0, 1, 1, 1, 2, 3], "one shot": [0, 1, 2, 3]}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make_task(labels: list[int], negative: bool = True) -> FewShotTask:
    """A task of random float64 features; two templates, two views."""
    rows = torch.tensor(labels, dtype=torch.int64)
    names = ("template", "negative") if negative else ("template",)
    prompts = {
        name: PromptFeatures(random(2 * C, D, seed=5 + i), torch.arange(C).repeat(2)) for i, name in enumerate(names)
    }
    clip, classes = SimpleNamespace(embed_dim=D), tuple(f"class {c}" for c in range(C))
    views = random(2, len(rows), D, seed=4)
    return FewShotTask(views, rows, rows, prompts, classes, 2, SCALE, clip, torch.device("cpu"))


def make_trainer(method: str, *options: object):
    trainer = TRAINER_REGISTRY.get(method).__new__(TRAINER_REGISTRY.get(method))
    files = [CONFIGS / "backbones" / "tiny.yaml", CONFIGS / "datasets" / "dtd.yaml"]
    node = f"TRAINER.{method.upper()}.NEGATIVE"
    typed = [text for key, value in options for text in (f"{node}.{key}", str(value))]
    trainer.cfg = assemble([*files, CONFIGS / "trainers" / f"{method}.yaml"], typed, {"TRAINER.NAME": method})
    return trainer


def moved(branch: NegativeBranch) -> NegativeBranch:
    """The branch after some learning."""
    for number, parameter in enumerate(branch.parameters()):
        parameter.data = 0.3 * random(*parameter.shape, seed=20 + number)
    return branch


def unit(vector: torch.Tensor) -> torch.Tensor:
    return vector / vector.square().sum().sqrt()


def naive_branch(task: FewShotTask, x: torch.Tensor, res_text, res_keys, o: NegativeOptions, beta: float, alpha: float):
    """weight (Q + alpha N), one number at a time."""
    labels, rows = task.support_labels.tolist(), []
    keys = [unit(sum(task.support_features[v, n] for v in range(2)) / 2) for n in range(len(labels))]
    weights = []
    for n, label in enumerate(labels):
        same = [m for m in range(len(labels)) if labels[m] == label]
        typical = {m: sum((keys[m] @ keys[k]).item() for k in same if k != m) / max(1, len(same) - 1) for m in same}
        total = sum(torch.tensor(t / o.tau).exp().item() for t in typical.values())
        weights.append(len(same) * torch.tensor(typical[n] / o.tau).exp().item() / total)
    prompt = task.prompts["negative"]
    for b in range(len(x)):
        logits = []
        for c in range(C):
            sentences = [unit(p) for p, k in zip(prompt.features, prompt.classes.tolist(), strict=True) if k == c]
            v = unit(unit(sum(sentences)) + res_text[c])
            logit = o.text_scale * SCALE * (1 - unit(x[b]) @ v)
            if o.cache:
                q = unit(unit(sum(k for k, y in zip(keys, labels, strict=True) if y != c)) + res_keys[c])
                for n, label in enumerate(labels):
                    if label == c:
                        logit = logit + alpha * weights[n] * torch.exp(-beta * (unit(x[b]) @ q))
            logits.append(o.weight * logit)
        rows.append(torch.stack(logits))
    return torch.stack(rows)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("cache", [True, False])
def test_the_branch_equals_a_naive_evaluation(labels, cache):
    options = {"ENABLED": True, "WEIGHT": 0.7, "CACHE": cache, "TAU": 0.2, "ALPHA": 1.7, "BETA": 2.5}
    task, x = make_task(labels), random(5, D, seed=3)
    branch = moved(NegativeBranch.of(task, options))
    learned = [p.detach().clone().requires_grad_() for p in branch.parameters()]
    wanted = naive_branch(task, x, learned[0], learned[-1], NegativeOptions.of(options), 2.5, 1.7)
    torch.testing.assert_close(branch(x), wanted, atol=1e-12, rtol=0)
    direction = random(5, C, seed=9)
    ours = torch.autograd.grad((branch(x) * direction).sum(), list(branch.parameters()))
    naive = torch.autograd.grad((wanted * direction).sum(), learned)
    for got, expected in zip(ours, naive, strict=True):
        torch.testing.assert_close(got, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
def test_task_res_with_the_branch(labels):
    options = {"ENABLED": True, "ALPHA": 1.7, "BETA": 2.5}
    task, x, y = make_task(labels), random(5, D, seed=3), torch.tensor([0, 3, 1, 1, 2])
    head = TaskResHead(3 * random(C, D), SCALE, 0.5, negative=moved(NegativeBranch.of(task, options)))
    head.residual.data = random(C, D, seed=1)
    residual, *learned = (p.detach().clone().requires_grad_() for p in head.parameters())
    logits = naive_branch(task, x, *learned, NegativeOptions.of(options), 2.5, 1.7) + torch.stack(
        [torch.stack([SCALE * unit(f) @ unit(head.base[c] + 0.5 * residual[c]) for c in range(C)]) for f in x]
    )
    check(head, x, y, logits, [residual, *learned])


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("cache", [True, False])
def test_tip_adapter_f_with_the_branch(labels, cache):
    """The negative cache has the alpha and beta of the positive one."""
    options = {"ENABLED": True, "CACHE": cache}
    task, x, y = make_task(labels), random(5, D, seed=3), torch.tensor([0, 3, 1, 1, 2])
    branch = moved(NegativeBranch.of(task, options))
    text, rows = task.text_features("template"), task.cache_keys()
    head = TipAdapterHead(
        text=text,
        cache_keys=rows,
        labels=task.support_labels,
        logit_scale=SCALE,
        learn_keys=True,
        beta=2.5,
        alpha=1.7,
        negative=branch,
    )
    keys, *learned = (p.detach().clone().requires_grad_() for p in head.parameters())
    logits = naive_branch(task, x, learned[0], learned[-1], NegativeOptions.of(options), 2.5, 1.7)
    for b in range(5):
        for c in range(C):
            mine = [n for n, label in enumerate(labels) if label == c]
            cached = sum(torch.exp(-2.5 * (1 - unit(x[b]) @ keys[n])) for n in mine)
            logits[b, c] = logits[b, c] + SCALE * unit(x[b]) @ text[c] + 1.7 * cached
    check(head, x, y, logits, [keys, *learned])


def check(head, x, y, logits, learned) -> None:
    """Logits, loss and gradients of a head against naive ones."""
    torch.testing.assert_close(head(x).detach(), logits.detach(), atol=1e-12, rtol=0)
    wanted = -sum(logits[b].log_softmax(0)[y[b]] for b in range(len(y))) / len(y)
    ours = head.losses(x, y)
    assert list(ours) == ["ce"]
    assert ours["ce"].item() == pytest.approx(wanted.item(), abs=1e-12)
    got = torch.autograd.grad(ours["ce"], list(head.parameters()))
    expected = torch.autograd.grad(wanted, learned)
    for mine, naive in zip(got, expected, strict=True):
        torch.testing.assert_close(mine, naive, atol=1e-12, rtol=0)


def test_it_is_simnls_branch():
    """SimNL's Q and N, with its negative keys per class, after the same learning."""
    task, x = make_task(LABELS["equal"]), random(5, D, seed=3)
    branch = moved(NegativeBranch.of(task, {"ENABLED": True, "WEIGHT": 1.0, "ALPHA": 1.7, "BETA": 2.5}))
    text = task.text_features("template")
    simnl = SimNLHead(
        template=text,
        cupl=None,
        negative=task.text_features("negative"),
        cache_keys=task.cache_keys(),
        labels=task.support_labels,
        classes=task.support_classes,
        logit_scale=SCALE,
        num_shots=2,
        options=SimNLOptions(),
        beta=2.5,
        alpha=1.7,
        lam=0.0,
    ).double()
    simnl.negative_text.residual.data = branch.text.residual.data
    simnl.negative_cache.residual.data = branch.cache.residual.data
    torch.testing.assert_close(branch(x), simnl(x), atol=1e-10, rtol=0)


# ---------------------------------------------------------------- switched off, and on


@pytest.mark.parametrize("method", CARRIERS)
def test_off_by_default_and_then_the_plain_method_to_the_bit(method):
    trainer, x, y = make_trainer(method), random(8, D, seed=3), torch.arange(8) % C
    assert trainer.prompt_sets_of(trainer.node) == ("template",)
    off = trainer.build_head(make_task(LABELS["equal"], negative=False), trainer.node)
    task = make_task(LABELS["equal"])
    if method == "TaskRes":
        plain = TaskResHead(task.text_features("template", averaging="mean"), SCALE, trainer.node.SCALE)
    else:
        given = {"text": task.text_features("template"), "cache_keys": task.cache_keys()}
        given |= {"labels": task.support_labels, "logit_scale": SCALE, "learn_keys": True}
        plain = TipAdapterHead(**given, beta=trainer.node.BETA, alpha=trainer.node.ALPHA)
    assert list(off.state_dict()) == list(plain.state_dict())
    assert [(f, len(p)) for f, p in off.parameter_groups()] == [(1.0, 1)]
    for head in (off, plain):  # the same training
        groups = [{"params": p, "lr": 0.1 * f} for f, p in head.parameter_groups()]
        optim = torch.optim.AdamW(groups)
        for _ in range(5):
            optim.zero_grad()
            sum(head.losses(x, y).values()).backward()
            optim.step()
    assert all(torch.equal(a, b) for a, b in zip(off.parameters(), plain.parameters(), strict=True))
    assert torch.equal(off(x), plain(x))


@pytest.mark.parametrize("method", CARRIERS)
def test_switched_on_by_the_config(method):
    trainer = make_trainer(method, ("ENABLED", True), ("LR_FACTOR", 3.0))
    assert trainer.prompt_sets_of(trainer.node) == ("template", "negative")
    head = trainer.build_head(make_task(LABELS["equal"]), trainer.node)
    learned = {"negative.text.residual": (C, D), "negative.cache.residual": (C, D)}  # 2CD more
    state = {name: tuple(p.shape) for name, p in head.state_dict().items()}
    assert learned.items() <= state.items()
    assert len(state) == 3
    (one, own), (factor, negative) = head.parameter_groups()
    assert (one, len(own), factor, len(negative)) == (1.0, 1, 3.0, 2)
    assert not any(p.any() for p in negative)  # zero at the start
    text_only = make_trainer(method, ("ENABLED", True), ("CACHE", False))
    head = text_only.build_head(make_task(LABELS["equal"]), text_only.node)
    assert [name for name in head.state_dict() if "negative" in name] == ["negative.text.residual"]


def test_a_search_over_the_split_of_tip_adapter_f_counts_the_branch_in():
    trainer = make_trainer("TipAdapterF", ("ENABLED", True))
    head = trainer.build_head(make_task(LABELS["equal"]), trainer.node)
    assert isinstance(head, SearchableHead)
    moved(head.negative)
    x, y = random(40, D, seed=3), torch.arange(40) % C
    grid = type(trainer.search_space(trainer.node))({"beta": axis(0.1, 12, 4), "alpha": axis(0.1, 5, 3)})
    counts = count_grid(head, x, y, grid)
    assert counts.unique().numel() > 1
    assert torch.equal(counts, counts_of(head, x, y, grid))


def test_groups_without_a_branch_are_left_alone():
    groups = [(1.0, [torch.nn.Parameter(torch.zeros(1))])]
    assert with_negative(groups, None) is groups


def test_new_classes_are_refused():
    with pytest.raises(ValueError, match=r"NEGATIVE\.ENABLED"):
        NegativeBranch.of(make_task([]), {"ENABLED": True})
    assert NegativeBranch.of(make_task([]), {"ENABLED": False}) is None


@pytest.mark.parametrize("key", ["WEIGHT", "LR_FACTOR", "TEXT_SCALE"])
def test_wrong_values_are_refused_by_name(key):
    with pytest.raises(ValueError, match=rf"NEGATIVE\.{key}"):
        NegativeOptions.of({key: 0.0})
