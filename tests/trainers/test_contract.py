"""What every registered method must do: a new one is tested by existing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from dassl.engine import TRAINER_REGISTRY
from helpers.methods import CLASSES, METHODS, make_head, make_trainer
from simnl.fewshot.capabilities import CLIP_TEXT, INFERENCE
from simnl.fewshot.head import Head, SearchableHead
from simnl.fewshot.prompt_head import PromptHead
from simnl.fewshot.task import FewShotTask
from simnl.fewshot.trainer import VLTrainer

SILENT = (  # before training, of these random features
    "LinearProbe", "CoOp", "CoCoOp", "JoAPR", "KgCoOp", "NLPrompt", "ProGrad", "TCP", "LoCoOp", "LSN", "NegPrompt",
)  # fmt: skip
STAGED = ("TwoStage", "NegPrompt")  # learn a part later, in a stage of its own


def test_every_config_is_a_registered_method():
    registered = [n for n in TRAINER_REGISTRY.registered_names() if issubclass(TRAINER_REGISTRY.get(n), VLTrainer)]
    assert sorted(registered) == METHODS


@pytest.mark.parametrize("shots", [1, 4])
@pytest.mark.parametrize("method", METHODS)
def test_logits_and_losses(method, shots):
    head, task = make_head(method, shots)
    features = task.support_features[0]
    logits = head(features)
    assert logits.shape == (len(features), CLASSES)
    assert logits.isfinite().all()
    losses = head.losses(features, task.support_labels)
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    if not TRAINER_REGISTRY.get(method).image_encoder_frozen:
        return  # noise images, seen by a model of random weights
    if not TRAINER_REGISTRY.get(method).before_projection:  # which may have a bias
        torch.testing.assert_close(head(3.0 * features).argmax(1), logits.argmax(1))  # the image's length means nothing
    if method not in SILENT:
        assert (logits.argmax(1) == task.support_labels).float().mean() > 0.5


@pytest.mark.parametrize("method", METHODS)
def test_what_a_method_declares_is_what_it_is(method):
    trainer = TRAINER_REGISTRY.get(method)
    head, _ = make_head(method, 2)
    assert trainer.training_free == (not list(head.parameters()))
    if trainer.base_to_new and type(head).adopt is Head.adopt:  # what it learns does not depend on the classes
        assert all(CLASSES not in p.shape for p in head.parameters())


def renumbered(task: FewShotTask, order: torch.Tensor) -> FewShotTask:
    """The same task with other class numbers: class c becomes order[c]; rows stay sorted by class."""
    labels = order[task.support_labels]
    rows = labels.argsort(stable=True)
    prompts = {name: replace(p, classes=order[p.classes]) for name, p in task.prompts.items()}
    names = tuple(task.classnames[c] for c in order.argsort())
    labels = labels[rows]
    views = task.support_features[:, rows]
    return replace(
        task, support_features=views, support_labels=labels, support_classes=labels, prompts=prompts, classnames=names
    )


@pytest.mark.parametrize("method", [m for m in METHODS if m != "GraphAdapter"])  # it groups classes by number
def test_the_numbers_of_classes_mean_nothing(method):
    head, task = make_head(method, 3)
    trainer = make_trainer(method)
    order = torch.tensor([3, 0, 4, 1, 2])
    other = trainer.build_head(renumbered(task, order), trainer.node)
    features = task.support_features[1]
    logits, again = head.eval()(features), other.eval()(features)
    torch.testing.assert_close(again[:, order], logits, atol=1e-3, rtol=1e-4)
    assert not torch.allclose(again, logits) or not logits.abs().sum()  # an untrained probe says nothing


@pytest.mark.parametrize("method", METHODS)
def test_the_checkpoint_is_what_was_learned(method):
    head, task = make_head(method, 4)
    assert set(head.state_dict()) == {name for name, _ in head.named_parameters()}
    other, _ = make_head(method, 4)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape))
    other.load_state_dict(head.state_dict(), strict=True)
    features = task.support_features[1]
    assert torch.equal(head.eval()(features), other.eval()(features))


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_every_parameter_and_nothing_else(method):
    head, task = make_head(method, 4)
    learned = [p for _, group in head.parameter_groups() for p in group]
    assert {id(p) for p in learned} == {id(p) for p in head.parameters()}
    if not learned:
        return
    before = [f.features.clone() for f in task.prompts.values()]
    for _ in range(2):  # some residuals start where their gradient is zero
        losses = head.losses(task.support_features[1], task.support_labels)
        grads = torch.autograd.grad(
            sum(losses.values()), learned, allow_unused=method in STAGED, materialize_grads=method in STAGED
        )
        with torch.no_grad():
            for parameter, grad in zip(learned, grads, strict=True):
                parameter.sub_(0.01 * grad)
    assert all(grad.isfinite().all() for grad in grads)
    assert any(grad.abs().sum() > 0 for grad in grads)
    assert all(torch.equal(f.features, b) for f, b in zip(task.prompts.values(), before, strict=True))


@pytest.mark.parametrize("method", METHODS)
def test_a_searchable_head_gives_the_same_in_parts(method):
    head, task = make_head(method, 4)
    if not isinstance(head, SearchableHead):
        return
    features = F.normalize(task.support_features[2], dim=-1)
    stage = head.stage(head.terms(features), **{k: head.hparams[k] for k in head.STAGE})
    base, slope = head.affine(stage, **{k: head.hparams[k] for k in head.MIXING})
    torch.testing.assert_close(base + head.hparams["alpha"] * slope, head(features))


@pytest.mark.parametrize("method", [m for m in METHODS if make_head(m, 2)[0].num_products])
def test_products_that_are_given_change_nothing(method):
    head, task = make_head(method, 4)
    features, labels = task.support_features[1], task.support_labels
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))
    products = head.products(features)
    assert products.shape == (len(features), head.num_products)
    assert not products.requires_grad  # nothing that is learned is in them
    torch.testing.assert_close(head(features, products=products), head(features))
    ours, plain = head.losses(features, labels, products=products), head.losses(features, labels)
    torch.testing.assert_close(ours, plain)
    if head.products_suffice:
        assert head.losses(features.new_empty(len(features), 0), labels, products=products) == ours
    assert not torch.allclose(head(features, products=products + 0.1), head(features))  # they are used


@pytest.mark.parametrize("method", METHODS)
def test_logits_of_a_whole_set(method):
    """No label is asked for; a method that is inductive by declaration looks at no other image, the others do."""
    trainer, (head, task) = make_trainer(method), make_head(method, 4)
    features = task.support_features[1]
    with torch.no_grad():
        logits, alone = head.eval().transduce(features), head(features)
        again = head.transduce(features)
    assert logits.shape == alone.shape
    assert logits.isfinite().all()
    assert torch.equal(again, logits)
    inference = trainer.inference_of(trainer.node)
    assert inference in INFERENCE
    torch.testing.assert_close(head(features), alone)  # nothing is left behind
    if inference == "inductive":
        torch.testing.assert_close(logits, alone)
    else:
        assert not torch.allclose(logits, alone)


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_test_images_means_nothing_unless_they_are_a_stream(method):
    trainer, (head, task) = make_trainer(method), make_head(method, 4)
    features = task.support_features[1]
    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, permuted = head.eval().transduce(features), head.transduce(features[order])
    same = torch.allclose(permuted, logits[order], atol=1e-3, rtol=1e-4)
    assert same == (trainer.inference_of(trainer.node) != "online")


def test_methods_with_learned_prompts_say_which_text_tower_they_need():
    """Prompts are read at the end of the text, which is right for CLIP's own tower, and wrong for that of CoCa."""
    own = [name for name in METHODS if not TRAINER_REGISTRY.get(name).text_features_cached]
    learned = [name for name in own if isinstance(make_head(name, 2)[0], PromptHead)]
    assert {"CoOp", "LSN"} <= {*learned}
    assert {TRAINER_REGISTRY.get(name).needs_text for name in learned} == {CLIP_TEXT}
