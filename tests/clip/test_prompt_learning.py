"""Learned prompts against the text tower itself: with the embeddings of words in place they are ordinary prompts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from simnl.clip.prompt_learning import LearnedPrompts, TextTower, context_from_words

NAMES = ("cat", "grand piano", "ring_tailed lemur")


def features(tower, prompts, context, chunk=0):
    return tower.encode(prompts.tokens, prompts.embeddings(context), chunk)


@pytest.mark.parametrize(
    ("position", "words", "sentence"),
    [
        ("end", "a photo of a", "a photo of a {}."),
        ("front", "a photo of a", "{} a photo of a."),
        ("middle", "a photo of a", "a photo {} of a."),
        ("middle", "itap of the", "itap {} of the."),
    ],
)
def test_the_words_embeddings_give_the_words_features(clip, tower, position, words, sentence):
    context = context_from_words(tower, words)
    prompts = LearnedPrompts(tower, NAMES, len(context), position)
    expected = clip.encode_text(clip.tokenize([sentence.format(name.replace("_", " ")) for name in NAMES]))
    torch.testing.assert_close(features(tower, prompts, context), expected, atol=1e-4, rtol=1e-4)


def test_positions_behind_the_end_change_nothing(clip, tower):
    tokens = clip.tokenize(["a photo of a cat.", "a photo."])
    assert tower.used_length(tokens) < clip.context_length
    short = tokens[:, : tower.used_length(tokens)]
    expected = clip.encode_text(tokens)
    torch.testing.assert_close(tower.encode(short, tower.embed(short)), expected, atol=1e-4, rtol=1e-4)


def test_a_context_for_each_class_and_for_each_image(tower):
    generator = torch.Generator().manual_seed(0)
    prompts = LearnedPrompts(tower, NAMES, 4, "middle")
    per_class = torch.randn(3, 4, tower.width, generator=generator)
    per_image = torch.randn(2, 1, 4, tower.width, generator=generator)
    together = prompts.embeddings(per_class)
    for c in range(3):
        assert torch.equal(together[c], prompts.embeddings(per_class[c])[c])
    images = prompts.embeddings(per_image)
    assert images.shape == (2, *together.shape)
    for b in range(2):
        assert torch.equal(images[b], prompts.embeddings(per_image[b, 0]))


def test_chunks_give_the_same_features_and_gradients(tower):
    prompts = LearnedPrompts(tower, NAMES, 3)
    context = torch.randn(3, tower.width, generator=torch.Generator().manual_seed(0)).requires_grad_()
    whole, parts = features(tower, prompts, context), features(tower, prompts, context, chunk=2)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=1e-5)
    weights = torch.randn(whole.shape, generator=torch.Generator().manual_seed(1))
    grads = [torch.autograd.grad((f * weights).sum(), context)[0] for f in (whole, parts)]
    torch.testing.assert_close(*grads, atol=1e-4, rtol=1e-4)
    assert grads[0].abs().min() > 0


def test_gradients_equal_finite_differences(tower):
    prompts = LearnedPrompts(tower, NAMES[:1], 1)
    context = 0.1 * torch.randn(1, tower.width, generator=torch.Generator().manual_seed(0))
    direction = torch.randn(1, tower.width, generator=torch.Generator().manual_seed(1))
    leaf = context.clone().requires_grad_()
    (grad,) = torch.autograd.grad(features(tower, prompts, leaf)[0, 0], leaf)
    h = 1e-2
    numeric = (features(tower, prompts, context + h * direction) - features(tower, prompts, context - h * direction))[
        0, 0
    ]
    assert (grad * direction).sum().item() == pytest.approx(numeric.item() / (2 * h), rel=0.02)


def test_what_does_not_fit_is_refused(tower, clip):
    with pytest.raises(ValueError, match="Use fewer vectors"):
        LearnedPrompts(tower, NAMES, clip.context_length - 4)
    with pytest.raises(ValueError, match="end, middle, front"):
        LearnedPrompts(tower, NAMES, 4, "back")
    with pytest.raises(ValueError, match="At least one"):
        LearnedPrompts(tower, NAMES, 0)
    with pytest.raises(ValueError, match="no words are given"):
        context_from_words(tower, "")


def test_other_text_towers_are_refused(clip):
    with pytest.raises(ValueError, match="Prompts cannot be learned"):
        TextTower(replace(clip, model=nn.Linear(2, 2)))
