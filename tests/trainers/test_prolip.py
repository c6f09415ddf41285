"""ProLIP against its formulas, image by image in float64."""

from __future__ import annotations

import pytest
import torch

from helpers.images import make_images
from helpers.methods import CLASSES, CLIP, HIDDEN_CLIP, make_head, make_task
from simnl.fewshot import head_file
from simnl.fewshot.description import HIDDEN, BackboneDescription, HeadDescription
from trainers.prolip import ProLIPHead

SCALE = 30.0


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(penalty=0.5):
    text = torch.nn.functional.normalize(randn(3, 4, seed=1), dim=-1)
    return ProLIPHead(text, randn(6, 4, seed=2), randn(4, seed=3), SCALE, penalty)


def test_logits_losses_and_gradient():
    head, h, labels = make(), randn(5, 6), torch.tensor([0, 2, 1, 1, 0])
    with torch.no_grad():
        head.projection.add_(0.1 * randn(6, 4, seed=4))
    p, p0 = head.projection.detach().double().requires_grad_(), head.start.double()
    ce, rows = 0.0, []
    for x, y in zip(h.double(), labels, strict=True):
        z = torch.stack([sum(x[i] * p[i, d] for i in range(6)) + head.bias[d].double() for d in range(4)])
        logits = torch.stack([SCALE * sum(z[d] / z.norm() * t[d] for d in range(4)) for t in head.text.double()])
        rows.append(logits)
        ce += -logits.log_softmax(0)[y] / 5
    torch.testing.assert_close(head(h).double(), torch.stack(rows), atol=1e-4, rtol=1e-5)
    losses = head.losses(h, labels)
    assert losses["ce"].item() == pytest.approx(ce.item(), rel=1e-5)
    distance = sum((p[i, d] - p0[i, d]) ** 2 for i in range(6) for d in range(4))
    assert losses["penalty"].item() == pytest.approx(0.5 * distance.item(), rel=1e-4)
    (wanted,) = torch.autograd.grad(ce + 0.5 * distance, p)
    (found,) = torch.autograd.grad(sum(losses.values()), head.projection)
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-4)


def test_the_start_is_zero_shot_with_no_pull():
    head, task = make_head("ProLIP", 4)
    h = task.support_features[0]
    plain = make_task(4)
    unit = torch.nn.functional.normalize(plain.support_features[0], dim=-1)
    torch.testing.assert_close(head(h), 50.0 * unit @ plain.text_features("template").T, atol=2e-3, rtol=1e-3)
    penalty = head.losses(h, task.support_labels)["penalty"]
    assert penalty.item() == 0
    assert not torch.autograd.grad(penalty, head.projection)[0].any()


def test_a_strong_pull_keeps_the_projection():
    head, h, labels = make(penalty=1e6), randn(5, 6), torch.tensor([0, 2, 1, 1, 0])
    optim = torch.optim.Adam(head.parameters(), lr=1e-3, eps=1e-4)
    for _ in range(50):
        loss = sum(head.losses(h, labels).values())
        optim.zero_grad()
        loss.backward()
        optim.step()
    torch.testing.assert_close(head.projection.detach(), head.start, atol=2e-3, rtol=0)


@pytest.mark.parametrize("shots", [1, 4])
def test_lambda_is_one_over_the_images_of_a_class(shots):
    head, _ = make_head("ProLIP", shots)
    assert head.penalty == pytest.approx(1 / shots)


def test_what_is_learned():
    head, _ = make_head("ProLIP", 2)
    width = HIDDEN_CLIP.image_dim
    assert {name: tuple(p.shape) for name, p in head.named_parameters()} == {"projection": (width, CLIP.embed_dim)}
    assert head.text.shape == (CLASSES, CLIP.embed_dim)


def test_a_head_file_encodes_images_before_the_projection(tmp_path):
    head, task = make_head("ProLIP", 2)
    with torch.no_grad():
        head.projection.add_(0.01)
    about = HeadDescription("ProLIP", task.classnames, BackboneDescription.of(HIDDEN_CLIP), takes=HIDDEN)
    head_file.save(tmp_path / "head.safetensors", head, about)
    loaded = head_file.load(tmp_path / "head.safetensors")
    encoder = loaded.encoder()
    images = make_images(tmp_path / "images", 3)
    inputs = encoder.encode(images)
    assert torch.equal(inputs, HIDDEN_CLIP.image_rows(torch.stack([encoder.pixels(image) for image in images])))
    torch.testing.assert_close(loaded.logits(inputs), head(inputs))
