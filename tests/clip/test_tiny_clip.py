"""The bundled model: captions, weights file, and the figures that its card promises."""

from __future__ import annotations

import json
import re

import numpy as np
import open_clip
import pytest
import torch
import yaml

from datasets.shapes.captions import NAMES, TRAITS, caption, plain_captions, vocabulary
from datasets.shapes.classes import CLASSES, OPAQUE_FIGURES, SPLITS
from datasets.shapes.dataset import Shapes, render_image
from datasets.shapes.figures import FIGURES
from datasets.shapes.render import COLOURS, PATTERNS, image_generator, sample_scene
from simnl.clip import tiny_clip
from simnl.clip.model import load_clip
from simnl.clip.text import PromptSet, class_weights, read_cupl
from simnl.clip.views import ViewSpec
from simnl.locations import CONFIGS

METRICS = {arch: json.loads(model.metrics.read_text()) for arch, model in tiny_clip.BUNDLED.items()}
FLOORS = {"tiny-clip": 35, "tiny-vit": 22}  # percent, zero-shot; of known names half as much again
VARIANTS = ("outline", "inverted", "noise")
PROMPTS = yaml.safe_load((CONFIGS / "datasets" / "shapes.yaml").read_text())["PROMPTS"]


def test_captions_are_true_and_never_name_an_opaque_class():
    assert not set(OPAQUE_FIGURES) & vocabulary()
    assert set(NAMES) == set(TRAITS) == set(FIGURES)
    seen = set()
    for i in range(3000):
        rng = image_generator("caption", i)
        scene = sample_scene(rng, list(TRAITS)[i % len(TRAITS)], PATTERNS[i % len(PATTERNS)])
        for text in (caption(scene, rng), *plain_captions(scene)):
            words = set(re.findall(r"\w+", text))
            assert words <= vocabulary(), text
            seen |= words
            if words & {"without", "no", "not"}:
                assert not words & {scene.pattern, NAMES[scene.figure]}, text
            else:
                assert not words & (set(PATTERNS) - {scene.pattern}), text
                assert not words & (set(COLOURS) - {scene.colour}), text
                assert not words & (set(NAMES.values()) - {NAMES[scene.figure]}), text
    assert seen == vocabulary()


def test_tokens_of_opaque_words_occur_in_no_caption():
    encode = tiny_clip.tokenizer().encode
    known = {token for word in vocabulary() for token in encode(word)}
    words = [set(encode(word)) for word in OPAQUE_FIGURES]
    assert not set.union(*words) & known
    assert len(set.union(*words)) == sum(map(len, words))


def test_cupl_sentences_describe_every_class_in_known_words():
    path = Shapes.bundled_dir / PROMPTS["CUPL"]
    sentences = json.loads(path.read_text(encoding="utf-8"))
    assert list(sentences) == [entry.name for entry in CLASSES]
    for name, lines in sentences.items():
        assert len(set(lines)) == len(lines) >= 8
        unknown = set(re.findall(r"\w+", " ".join(lines))) - vocabulary() - set(name.split())
        assert unknown <= {"and", "is", "it", "looks", "like", "which"}, (name, unknown)
    tokens = tiny_clip.tokenizer()([line for lines in sentences.values() for line in lines])
    assert (tokens[:, -1] == 0).all()  # none is cut off


def test_all_variants_share_the_prompts():
    for style in VARIANTS:
        body = yaml.safe_load((CONFIGS / "datasets" / f"shapes_{style}.yaml").read_text())
        assert body["PROMPTS"] == PROMPTS


@pytest.mark.parametrize("bundled", tiny_clip.BUNDLED.values(), ids=tiny_clip.BUNDLED)
def test_the_weights_load_strictly_and_are_small(bundled):
    open_clip.add_model_config(bundled.config)
    model = open_clip.create_model(bundled.arch, require_pretrained=False)
    state = tiny_clip.load_state_dict(bundled.weights)
    model.load_state_dict(state, strict=True)
    assert all(value.dtype == torch.float32 for value in state.values() if value.is_floating_point())
    assert bundled.weights.stat().st_size < 4e6
    assert sum(value.numel() for value in model.visual.parameters()) == METRICS[bundled.arch]["image_tower_parameters"]


def test_unknown_words_differ_and_stay_the_same():
    table, again = (tiny_clip.load_state_dict()["token_embedding.weight"] for _ in range(2))
    assert torch.equal(table, again)
    assert torch.unique(table, dim=0).shape == table.shape


def test_saved_weights_come_back(tmp_path):
    ids = torch.tensor([0, 5, 49407])
    rows = torch.arange(6.0).reshape(3, 2)
    path = tmp_path / "weights.safetensors"
    tiny_clip.save_state_dict({"bias": torch.tensor([0.5]), "token_embedding.weight": rows}, ids, path)
    state = tiny_clip.load_state_dict(path)
    assert torch.equal(state["bias"], torch.tensor([0.5]))
    assert torch.equal(state["token_embedding.weight"][ids], rows)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_stored_or_read_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    with pytest.raises(FileNotFoundError, match="train_tiny_clip"):
        tiny_clip.load_state_dict(path)
    with pytest.raises(ValueError, match=r"bias.*half precision"):
        tiny_clip.save_state_dict({"bias": torch.tensor([1e6])}, torch.tensor([0]), path)
    assert not list(tmp_path.iterdir())
    path.write_bytes(b"half a file")
    with pytest.raises(ValueError, match="safetensors"):
        tiny_clip.load_state_dict(path)


@pytest.fixture(scope="module", params=tiny_clip.BUNDLED)
def clip(request):
    return load_clip(request.param, "bundled")


@pytest.fixture(scope="module")
def predictions(clip) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Right or wrong, by prompt set, on every fifth test image."""
    transform = ViewSpec.test(clip.preprocess).build()
    names = [entry.name for entry in CLASSES]
    sets = {
        "template": PromptSet.from_templates(PROMPTS["POSITIVE"], names),
        "cupl": read_cupl(Shapes.bundled_dir / PROMPTS["CUPL"], names),
    }
    kinds = [(entry, i) for entry in CLASSES for i in range(0, SPLITS["test"], 5)]
    pixels = torch.stack([transform(render_image("test", entry, i, "photo")) for entry, i in kinds])
    features, labels = clip.encode_image(pixels), torch.tensor([entry.label for entry, _ in kinds])
    right = {}
    for name, prompts in sets.items():
        text = clip.encode_text(clip.tokenize(list(prompts.prompts)))
        weights = class_weights(text, torch.tensor(prompts.classes), len(names), "normalize-mean-normalize")
        right[name] = ((features @ weights.T).argmax(1) == labels).numpy()
    return right, np.array([entry.opaque for entry, _ in kinds])


def test_zero_shot_accuracy_is_what_the_card_says(clip, predictions):
    (right, _), metrics = predictions, METRICS[clip.arch]
    assert clip.logit_scale == pytest.approx(metrics["logit_scale"], abs=0.01)
    assert FLOORS[clip.arch] < metrics["zero_shot_photo_template"] < 75
    for name in ("template", "cupl"):
        assert 100 * right[name].mean() == pytest.approx(metrics[f"zero_shot_photo_{name}"], abs=6)


def test_opaque_names_are_what_the_model_does_not_know(clip, predictions):
    right, opaque = predictions
    known, unknown = right["template"][~opaque].mean(), right["template"][opaque].mean()
    assert known > 0.015 * FLOORS[clip.arch]
    assert unknown < 0.4
    assert right["cupl"][opaque].mean() > unknown + 0.05  # their descriptions help


@pytest.mark.parametrize("metrics", METRICS.values(), ids=METRICS)
def test_variants_are_harder_but_above_chance(metrics):
    for style in VARIANTS:
        assert 150 / len(CLASSES) < metrics[f"zero_shot_{style}_template"] < metrics["zero_shot_photo_template"]


@pytest.mark.parametrize("bundled", tiny_clip.BUNDLED.values(), ids=tiny_clip.BUNDLED)
def test_the_card_gives_the_recorded_figures(bundled):
    card = bundled.card.read_text(encoding="utf-8")
    for key, value in METRICS[bundled.arch].items():
        assert re.search(rf"(?<![\d.,]){re.escape(f'{value:,}')}(?![\d])", card), f"the card lacks {key} = {value:,}"
