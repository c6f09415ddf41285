"""Head files: complete for every method, small, equal in their logits, and refused by name where they do not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from dassl.engine import TRAINER_REGISTRY
from helpers import golden_heads
from helpers.images import make_images
from helpers.methods import CLIP, METHODS, make_head
from simnl.clip.recipe import NotRebuildable, Rebuildable, packed, rebuilt
from simnl.fewshot import encoder, head_file
from simnl.fewshot.checkpoint import load_head, restore_head, save_head, write_tensors
from simnl.fewshot.description import FEATURES, PIXELS, BackboneDescription, HeadDescription, relative_names
from simnl.fewshot.head import ClassifierHead, Head
from simnl.locations import CONFIGS
from simnl.runs.config import assemble
from simnl.runs.run import seeded_trainer

GOLDENS = sorted((Path(__file__).parents[1] / "goldens" / "heads").iterdir())


def trained(method: str) -> tuple[Head, HeadDescription, torch.Tensor]:
    """A head with parameters that moved, its description and inputs of a kind that it takes."""
    head, task = make_head(method, 3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    hparams = getattr(head, "hparams", {})
    hparams |= {name: 1.1 * value for name, value in hparams.items() if name == "alpha"}
    takes = FEATURES if TRAINER_REGISTRY.get(method).image_encoder_frozen else PIXELS
    about = HeadDescription(method, task.classnames, BackboneDescription.of(task.clip), hparams=hparams, takes=takes)
    return head.eval(), about, task.support_features[1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """{method: (file, head, inputs)}, made when they are first asked for."""
    folder, made = tmp_path_factory.mktemp("heads"), {}

    def of(method: str):
        if method not in made:
            head, about, inputs = trained(method)
            head_file.save(folder / f"{method}.safetensors", head, about)
            made[method] = folder / f"{method}.safetensors", head, inputs
        return made[method]

    return of


def load(path: Path, method: str) -> head_file.LoadedHead:
    return head_file.load(path, clip=make_head(method, 1)[1].clip if needs_towers(path) else None)


def needs_towers(path: Path) -> bool:
    with safe_open(path, framework="pt") as file:
        return '{"backbone": true}' in file.metadata()["about"]


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


# ---------------------------------------------------------------------- every method


@pytest.mark.parametrize("method", METHODS)
def test_a_loaded_head_has_the_logits_of_the_trained_one(method, saved, monkeypatch):
    path, head, inputs = saved(method)
    monkeypatch.setattr(encoder, "load_clip", None)  # no tower is loaded but where it is needed
    with torch.no_grad():
        wanted = head(inputs)
    loaded = load(path, method)
    assert relative(loaded.logits(inputs), wanted) < 1e-6
    torch.testing.assert_close(loaded.probabilities(inputs), wanted.softmax(-1), atol=1e-5, rtol=1e-4)
    assert not any(parameter.requires_grad for parameter in loaded.head.parameters())
    trainer = TRAINER_REGISTRY.get(method)
    assert not needs_towers(path) or not (trainer.image_encoder_frozen and trainer.text_features_cached)
    assert method != "CoOp" or not needs_towers(path)  # its text features are constants after training


@pytest.mark.parametrize("method", METHODS)
def test_terms_add_up_to_the_logits_and_support_images_to_their_terms(method, saved):
    path, _, inputs = saved(method)
    loaded = load(path, method)
    logits, terms = loaded.logits(inputs), loaded.evidence(inputs)
    assert relative(sum(terms.values()), logits) < 1e-6
    if not loaded.head.support_terms:
        return
    for classes in (logits.argmax(1), logits.argmin(1)):
        rows = loaded.support_evidence(inputs, classes)
        assert rows.shape == (len(inputs), 15)
        wanted = sum(terms[name] for name in loaded.head.support_terms).gather(1, classes[:, None])[:, 0]
        torch.testing.assert_close(rows.sum(1), wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_copy_in_half_precision_is_smaller_and_nearly_equal(method, saved, tmp_path):
    path, _, inputs = saved(method)
    clip = make_head(method, 1)[1].clip
    loaded = head_file.load(path, clip=clip)
    head_file._write(tmp_path / "half", loaded.head, loaded.about, half=True, trained=False)
    half = head_file.load(tmp_path / "half", clip=clip)
    assert relative(half.logits(inputs), loaded.logits(inputs)) < 2e-3
    assert (tmp_path / "half").stat().st_size <= path.stat().st_size + 8  # a header is padded to eight bytes
    tensors = [*half.head.buffers(), *half.head.parameters()]
    assert not any(tensor.dtype == torch.float16 for tensor in tensors)  # it computes in what it was trained in


@pytest.mark.parametrize("method", METHODS)
def test_what_was_learned_is_in_the_file_under_the_trained_heads_names(method, saved):
    path, head, _ = saved(method)
    state, about = load_head(path)
    assert set(state) == set(head.state_dict())
    other, task = make_head(method, 3)
    described = {"method": method, "classnames": list(task.classnames)}
    assert restore_head(path, other, described) == about
    assert all(torch.equal(value, state[name]) for name, value in other.state_dict().items())


# ---------------------------------------------------------------------- releases


@pytest.mark.parametrize("folder", GOLDENS, ids=lambda path: path.name)
@pytest.mark.parametrize("method", golden_heads.METHODS)
def test_heads_of_earlier_releases_load(folder, method):
    expected = load_file(folder / golden_heads.EXPECTED)
    loaded = head_file.load(folder / f"{method}.safetensors", clip=CLIP)
    assert loaded.classnames == golden_heads.NAMES
    assert relative(loaded.logits(expected[f"{method}.features"]), expected[f"{method}.logits"]) < 1e-5


def test_goldens_are_those_of_the_helper(tmp_path):
    head, about, features = golden_heads.trained("TipAdapterF")
    head_file.save(tmp_path / "head", head, about)
    expected = load_file(GOLDENS[-1] / golden_heads.EXPECTED)
    torch.testing.assert_close(features, expected["TipAdapterF.features"])
    torch.testing.assert_close(head_file.load(tmp_path / "head").logits(features), expected["TipAdapterF.logits"])


# ---------------------------------------------------------------------- what is refused


def changed(path: Path, to: Path, **keys: object) -> Path:
    """A copy with other values in its description and a right check sum; a value None takes the key out."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
    about = {key: value for key, value in (about | keys).items() if value is not None}
    write_tensors(to, load_file(path), about)
    return to


def refusal(path: Path, **options) -> str:
    with pytest.raises(ValueError, match=r"\S") as told:
        head_file.load(path, **options)
    text = str(told.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_other_files_are_refused_with_what_to_do(saved, tmp_path):
    path, _, _ = saved("TipAdapter")
    to = tmp_path / "head.safetensors"
    assert "does not" not in refusal(changed(path, to, format="else"))
    assert "has the format 'else', but a head for predictions has 'simnl-head'. Give" in refusal(to)
    text = refusal(changed(path, to, version=3, package_version="0.9"))
    assert "has version 3 of the format, and this release reads versions up to 2. Install release 0.9" in text
    assert "method 'Foo', which is not registered here. Put its module into" in refusal(changed(path, to, method="Foo"))
    assert "has an incomplete description ('backbone')" in refusal(changed(path, to, backbone=None))
    save_head(to, torch.nn.Linear(1, 1), {"method": "SimNL", "classnames": ["a"], "hparams": {}})
    assert "holds what SimNL learned, as files of earlier releases do, but not the frozen tensors" in refusal(to)
    save_head(to, torch.nn.Linear(1, 1), {})
    assert "has no format, but a head for predictions" in refusal(to)
    save_file({"weight": torch.ones(1)}, to)
    assert "is not a trained head of this program: it has no 'about'. Give the head.safetensors" in refusal(to)


def test_damage_is_refused(saved, tmp_path):
    path, _, _ = saved("SimNL")
    content, to = path.read_bytes(), tmp_path / "head.safetensors"
    for damaged in (b"", content[:1000], content[:-1], b"x" * 500, content.replace(b"class 1", b"class 9")):
        to.write_bytes(damaged)
        assert "Give the head.safetensors of a finished run" in refusal(to)
    with pytest.raises(FileNotFoundError, match=r"no head file .*nowhere. Give"):
        head_file.load(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no head file .*empty/head.safetensors"):
        head_file.load(tmp_path / "empty")


def test_recipes_that_fit_nothing_are_refused(saved, tmp_path):
    path, _, _ = saved("TipAdapter")
    with safe_open(path, framework="pt") as file:
        recipe = json.loads(file.metadata()["about"])["recipe"]
    to = tmp_path / "head.safetensors"
    for other in (
        recipe | {"made": "os.system"},
        recipe | {"made": "simnl.fewshot.negative.NegativeOptions", "arguments": {}},
        recipe | {"made": ["a"]},
        recipe | {"arguments": {}},
        recipe | {"arguments": recipe["arguments"] | {"more": 1}},
        recipe | {"arguments": recipe["arguments"] | {"text": {"tensor": "nowhere"}}},
        recipe | {"state": {"more": "deployed/text"}},
        recipe | {"dtypes": 3},
        {},
    ):
        assert "does not fit TipAdapter of this release" in refusal(changed(path, to, recipe=other))


def test_another_backbone_is_refused(saved, vit):
    path, _, _ = saved("CoCoOp")
    text = refusal(path, clip=vit)
    assert f"of the fingerprint {CLIP.fingerprint[:12]}" in text
    assert vit.fingerprint[:12] in text
    loaded = head_file.load(path, clip=CLIP)
    with pytest.raises(ValueError, match=r"was trained on .*those of test-vit here"):
        loaded.encoder(clip=vit)
    about = replace(loaded.about, backbone=replace(loaded.about.backbone, weights="/none/here.pt"))
    with pytest.raises(ValueError, match=r"there is no file /none/here.pt. Say with --weights"):
        encoder.ImageEncoder(about)
    with pytest.raises(ValueError, match=r"takes features of shape \(images, 128\)"):
        loaded.logits(torch.zeros(2, 16))


class Unknown(Head):
    """Is given what no file can hold."""

    def __init__(self, anything):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))


def test_a_head_that_no_file_can_hold_does_not_end_its_run(tmp_path, monkeypatch, caplog):
    head, about = Unknown(object()), trained("ZSLP")[1]
    with pytest.raises(NotRebuildable, match=r"deployed/anything is a builtins.object. A head in a file"):
        head_file.save(tmp_path / "head", head, about)
    monkeypatch.setattr(head_file, "describe", lambda trainer: about)
    head_file.save_trained(tmp_path, type("Trainer", (), {"head": head}))
    assert "holds only what was learned" in caplog.text
    assert set(load_head(tmp_path / "head.safetensors")[0]) == {"weight"}
    assert "but not the frozen tensors" in refusal(tmp_path / "head.safetensors")


def test_what_float16_cannot_hold_stays_as_it_is(tmp_path):
    about = replace(trained("ZSLP")[1], classnames=("a", "b"))
    for classifier in (torch.eye(2, 128), 1e5 * torch.eye(2, 128)):
        head = ClassifierHead(classifier, 1.0, torch.tensor([1000.1, 0.0]))
        head_file.save(tmp_path / "head", head, about, half=True)
        small = classifier.max() < 2
        dtypes = {name: value.dtype for name, value in load_file(tmp_path / "head").items()}
        assert dtypes["deployed/classifier"] is (torch.float16 if small else torch.float32)
        assert dtypes["deployed/bias"] is torch.float32
        features = torch.ones(1, 128)
        torch.testing.assert_close(head_file.load(tmp_path / "head").logits(features), head(features))


def test_a_small_copy_is_no_head_to_go_on_from(saved, tmp_path):
    path, _, _ = saved("GraphAdapter")
    before, after = head_file.halve(path, tmp_path / "half")
    assert after < before / 10
    head, task = make_head("GraphAdapter", 3)
    with pytest.raises(ValueError, match="not what the method learned. Point --model-dir at the run's"):
        restore_head(tmp_path / "half", head, {"method": "GraphAdapter", "classnames": list(task.classnames)})
    with pytest.raises(ValueError, match="is the head file itself"):
        head_file.halve(path, path)


# ---------------------------------------------------------------------- a run


def test_the_file_of_a_run_predicts_as_the_run_did(tmp_path):
    for number, name in enumerate(("cat", "dog", "owl")):
        make_images(tmp_path / "images" / name, 10 + number, size=48)
    files = [CONFIGS / part for part in ("backbones/tiny.yaml", "datasets/imagefolder.yaml", "trainers/SimNL.yaml")]
    options = {"DATASET.FOLDER": tmp_path / "images", "STORE.ROOT": tmp_path / "store", "OUTPUT_DIR": tmp_path / "run",
               "OPTIM.MAX_EPOCH": 2, "DATASET.NUM_SHOTS": 2, "VIEWS.CACHE": 2, "VERBOSE": False, "TEST.NO_TEST": True,
               "DATALOADER.NUM_WORKERS": 0, "SEARCH.ENABLED": False}  # fmt: skip
    typed = [str(word) for pair in options.items() for word in pair]
    trainer = seeded_trainer(assemble(files, typed, {"TRAINER.NAME": "SimNL", "SEED": 1, "USE_CUDA": False}))
    trainer.train()
    paths = [item.impath for item in trainer.dm.dataset.test]
    (batch,) = trainer.test_loader
    loaded = head_file.load(tmp_path / "run")
    features = loaded.encoder(clip=trainer.clip).encode(paths)
    assert torch.equal(features, batch["img"])  # of the store, bit by bit
    with torch.no_grad():
        assert relative(loaded.logits(features), trainer.head(batch["img"])) < 1e-6
    about = loaded.about
    assert (about.method, about.num_shots, about.protocol, about.seed) == ("SimNL", 2, "fewshot-val", 1)
    assert about.classnames == trainer.classnames
    assert about.backbone.fingerprint == trainer.clip.fingerprint
    names = [item.impath for item in trainer.support.items]
    assert about.support == tuple(str(Path(path).relative_to(tmp_path / "images")) for path in names)
    trainer.load_model(str(tmp_path / "run"))


def test_names_of_support_images_say_nothing_of_the_machine():
    assert relative_names(["/home/me/a/x.png", "/home/me/b/y.png"]) == ("a/x.png", "b/y.png")
    assert relative_names(["/home/me/a/x.png"]) == ("x.png",)
    assert relative_names(["/d/\udcff.png"]) == ("\\udcff.png",)
    assert relative_names([]) == relative_names([""]) == ()


def test_recipes_hold_what_they_may_and_nothing_else():
    class Part(Rebuildable):
        def __init__(self, first, *, second=None, **others):
            self.values = first, second, others

    generator = torch.Generator().manual_seed(7)
    values = (torch.arange(3), [1, 2.5, "a", None, True], (torch.float16, {"b": torch.ones(2)}, generator))
    tensors: dict[str, torch.Tensor] = {}
    recipe = json.loads(json.dumps(packed(Part(values, second=Part(1), third=CLIP), tensors, "x")))
    assert set(tensors) == {"x.first.0", "x.first.2.1.b"}
    again = rebuilt(recipe, tensors, lambda: CLIP)
    first, second, others = again.values
    assert first[1] == values[1]
    assert torch.equal(first[2][1]["b"], torch.ones(2))
    assert first[2][0] is torch.float16
    assert first[2][2].initial_seed() == 7
    assert second.values == (1, None, {})
    assert others["third"] is CLIP
    for bad, match in (
        (float("nan"), "x.first is nan"),
        (print, "x.first is a builtins"),
        ({1: print}, "x.first.1 is"),
    ):
        with pytest.raises(NotRebuildable, match=match):
            packed(Part(bad), {}, "x")


def test_large_arguments_of_training_are_let_go():
    head, _ = make_head("LPPlusPlus", 2)
    with pytest.raises(NotRebuildable, match="LPPlusPlusHead has dropped its arguments"):
        packed(head, {}, "x")
    assert set(head.deployed().arguments()) == {"classifier", "logit_scale", "bias"}


def test_a_classifier_with_a_bias():
    head = ClassifierHead(torch.eye(2), 10.0, torch.tensor([0.0, 1.0]))
    features = torch.tensor([[3.0, 0.0]])
    assert head(features).tolist() == [[10.0, 1.0]]
    assert {name: term.tolist() for name, term in head.evidence(features).items()} == {
        "classifier": [[10.0, 0.0]], "bias": [[0.0, 1.0]]}  # fmt: skip
