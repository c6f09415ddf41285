"""Methods inside the towers: logits, losses and gradients against towers written out in float64; counts."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from dassl.engine import TRAINER_REGISTRY
from helpers import naive_towers as naive
from helpers import tiny_vit
from helpers.naive_towers import insert_first, replace_first, replace_last, unit
from simnl.clip.deep_prompts import TextPrompts, VisionPrompts
from simnl.clip.model import load_clip
from simnl.clip.towers import ImageTower, Tokens
from simnl.fewshot.two_stages import two_cosines
from simnl.locations import CONFIGS
from simnl.plugins import load_plugins
from simnl.runs.config import assemble
from trainers.maple import MaPLeHead
from trainers.mmrl import MMRLHead
from trainers.prompt_src import Average, gaussian_weights
from trainers.tcp import TCPHead

load_plugins()
NAMES = ("tabby_cat", "dog", "a lake of the north")
READ = [name.replace("_", " ") for name in NAMES]
PHOTOS = [f"a photo of a {name}." for name in READ]
LABELS = torch.tensor([0, 1, 2, 1])
SCALE = 20.0
DEEP = ("MaPLe", "IVLP", "VPT", "PromptSRC", "TwoStage", "CLIPSVD", "TCP", "MMRL")


def trainer_of(method: str, *options: str, backbone: str = "tiny", preset: str = "repaired"):
    files = [CONFIGS / "backbones" / f"{backbone}.yaml", CONFIGS / "datasets" / "caltech101.yaml"]
    files.append(CONFIGS / "trainers" / f"{method}.yaml")
    trainer = TRAINER_REGISTRY.get(method).__new__(TRAINER_REGISTRY.get(method))
    trainer.cfg = assemble(files, options, {"TRAINER.NAME": method, "SEED": 1, "PRESET": preset})
    trainer.check_cfg(trainer.cfg)
    return trainer


def build(method: str, *options: str, names=NAMES, clip=None):
    trainer, clip = trainer_of(method, *options), clip or tiny_vit.load()
    task = SimpleNamespace(clip=clip, classnames=tuple(names), num_classes=len(names), logit_scale=SCALE, num_shots=2)
    task.templates = tuple(trainer.cfg.PROMPTS.POSITIVE)
    return trainer.build_head(task, trainer.node)


def moved(method: str, *options: str):
    """A head whose parameters are away from their start."""
    head = build(method, *options)
    for number, parameter in enumerate(head.parameters()):
        parameter.data += 0.1 * tiny_vit.random(*parameter.shape, seed=number, dtype=torch.float32)
    return head


def ce(logits: Tensor) -> Tensor:
    return -logits.log_softmax(-1)[torch.arange(len(LABELS)), LABELS].mean()


# ------------------------------------------------------------------ the methods, straight from their formulas


def ivlp_features(p: dict[str, Tensor], pixels: Tensor) -> tuple[Tensor, Tensor]:
    images = naive.image_features(pixels, p["vision.first"], {1: replace_last(p["vision.deep.0"])})
    text = naive.text_features(PHOTOS, p["prompts.context"], {1: replace_first(p["prompts.deep.0"])})
    return unit(images), unit(text)


def maple(p, pixels):
    def couple(number, tokens):
        return tokens @ p[f"couplings.{number}.weight"].T + p[f"couplings.{number}.bias"]

    context, deep = p["prompts.context"], p["prompts.deep.0"]
    images = naive.image_features(pixels, couple(0, context), {1: replace_last(couple(1, deep))})
    logits = SCALE * unit(images) @ unit(naive.text_features(PHOTOS, context, {1: replace_first(deep)})).T
    return logits, ce(logits)


def ivlp(p, pixels):
    images, text = ivlp_features(p, pixels)
    return SCALE * images @ text.T, ce(SCALE * images @ text.T)


def vpt(p, pixels):
    images = naive.image_features(pixels, p["vision.first"], {1: replace_last(p["vision.deep.0"])})
    logits = SCALE * unit(images) @ unit(naive.text_features(PHOTOS)).T
    return logits, ce(logits)


TWO_TEMPLATES = ("a photo of a {}.", "graffiti of a {}.")


def prompt_src(p, pixels):
    images, text = ivlp_features(p, pixels)
    target = unit(sum(naive.text_features([t.format(name) for name in READ]) for t in TWO_TEMPLATES) / 2)
    frozen = unit(naive.image_features(pixels))
    z, z0 = SCALE * images @ text.T, SCALE * frozen @ target.T
    ours, theirs = z.softmax(-1), z0.softmax(-1)
    kl = (theirs * (theirs.log() - ours.log())).sum() / (4 * 3)
    return z, ce(z) + 25 * (text - target).abs().mean() + 10 * (images - frozen).abs().mean() + kl


def tcp(p, features):
    start = unit(naive.text_features(PHOTOS))
    hidden = start @ p["network.0.weight"].T + p["network.0.bias"]
    tokens = (hidden * (1.702 * hidden).sigmoid()) @ p["network.1.weight"].T + p["network.1.bias"]
    text = torch.cat(
        [
            naive.text_features([f"X X X X {name}."], p["context"], {1: replace_first(row.reshape(4, 32))})
            for name, row in zip(READ, tokens, strict=True)
        ]
    )
    logits = SCALE * unit(features.double()) @ unit(text).T
    return logits, ce(logits) + 8 * (1 - (unit(text) * start).sum(-1).mean())


def mmrl(p, pixels):
    to_image = p["space"] @ p["to_image.0.weight"].T + p["to_image.0.bias"]
    to_text = p["space"] @ p["to_text.0.weight"].T + p["to_text.0.bias"]
    hidden = naive.image_tokens(pixels, at={1: insert_first(to_image)})
    images, tokens = hidden[:, 0] @ naive.STATE["visual.proj"], hidden[:, 1:6].mean(1) @ p["projection"]
    text = unit(naive.text_features(PHOTOS, at={1: insert_first(to_text)}))
    z, z_r = SCALE * unit(images) @ text.T, SCALE * unit(tokens) @ text.T
    image_pull = 1 - (unit(images) * unit(naive.image_features(pixels))).sum(-1).mean()
    text_pull = 1 - (text * unit(naive.text_features(PHOTOS))).sum(-1).mean()
    return 0.7 * z + 0.3 * z_r, 0.7 * ce(z) + 0.3 * ce(z_r) + 0.5 * image_pull + 0.5 * text_pull


def changed(p: dict[str, Tensor], side: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{side}."): value for name, value in p.items() if name.startswith(f"{side}.")}


def two_stage(p, pixels):
    images = unit(naive.image_features(pixels, changed=changed(p, "image")))
    logits = SCALE * images @ unit(naive.text_features(PHOTOS, changed=changed(p, "text"))).T
    return SCALE * images.detach() @ unit(p["classifier"]).T, ce(logits)


def clip_svd(p, pixels):
    weights = {}
    for side, prefix in (("image", "visual."), ("text", "")):
        weights[side] = {}
        for number in range(2):
            place = f"transformer.resblocks.{number}."

            def composed(matrix, sigma, place=place, side=side):
                u, _, v = torch.linalg.svd(matrix, full_matrices=False)
                return u @ torch.diag(p[f"{side}.sigma.{place}{sigma}"]) @ v

            packed = naive.STATE[f"{prefix}{place}attn.in_proj_weight"].chunk(3)
            parts = [composed(m, f"attn.{letter}") for m, letter in zip(packed, "qkv", strict=True)]
            weights[side][f"{place}attn.in_proj_weight"] = torch.cat(parts)
            for name in ("attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight"):
                weights[side][place + name] = composed(naive.STATE[prefix + place + name], name)
    images = naive.image_features(pixels, changed=weights["image"])
    logits = SCALE * unit(images) @ unit(naive.text_features(PHOTOS, changed=weights["text"])).T
    return logits, ce(logits)


PAIRS = [
    ("MaPLe", maple, ()),
    ("IVLP", ivlp, ()),
    ("VPT", vpt, ("TRAINER.VPT.N_CTX", "3")),
    ("PromptSRC", prompt_src, ("TRAINER.PROMPTSRC.TEMPLATES", str(list(TWO_TEMPLATES)))),
    ("TCP", tcp, ()),
    ("MMRL", mmrl, ()),
    ("TwoStage", two_stage, ()),
    ("CLIPSVD", clip_svd, ()),
]


@pytest.mark.parametrize(("method", "formula", "options"), PAIRS, ids=[pair[0] for pair in PAIRS])
def test_logits_loss_and_gradients(method, formula, options):
    head, inputs = moved(method, *options), tiny_vit.pixels()
    if method == "TCP":
        inputs = tiny_vit.random(4, tiny_vit.WIDTH, dtype=torch.float32)
    reference = {n: p.detach().double().requires_grad_() for n, p in head.named_parameters()}
    logits, loss = formula(reference, inputs)
    with torch.no_grad():
        torch.testing.assert_close(head.eval()(inputs).double(), logits, atol=2e-4, rtol=1e-4)
    ours = sum(head.train().losses(inputs, LABELS).values())
    torch.testing.assert_close(ours.double(), loss, atol=1e-4, rtol=1e-4)
    learned = [n for n in reference if n != "classifier"]
    wanted = torch.autograd.grad(loss, [reference[n] for n in learned])
    found = torch.autograd.grad(ours, [head.get_parameter(n) for n in learned])
    for name, one, other in zip(learned, found, wanted, strict=True):
        assert (one - other).abs().max() <= 1e-3 * other.abs().max() + 1e-6, name


# ------------------------------------------------------------------ numbers of parameters, at ViT-B/16


class Sizes:
    """Stands in for ViT-B/16's towers, of which only the sizes are asked for."""

    num_blocks, clip = 12, SimpleNamespace(arch="ViT-B-16", embed_dim=512)

    def __init__(self, width: int):
        self.width = width
        self.clip = SimpleNamespace(arch="ViT-B-16", embed_dim=512, tokenize=lambda texts: torch.zeros(1, 77).long())

    def embed(self, tokens: Tensor) -> Tensor:
        return torch.zeros(*tokens.shape, self.width)


def test_numbers_of_parameters_of_vit_b16():
    text, image, g = Sizes(512), Sizes(768), tiny_vit.generator()
    sentences = SimpleNamespace(tower=text)

    def count(*modules):
        return sum(p.numel() for module in modules for p in module.parameters())

    node = trainer_of("MaPLe", backbone="vit_b16").node
    prompts = TextPrompts(text, node.N_CTX, node.DEPTH, g)
    assert count(MaPLeHead(image, prompts, sentences, g, SCALE)) == 3_555_072
    node = trainer_of("IVLP", backbone="vit_b16").node
    vision = VisionPrompts(image, node.N_CTX_VISION, node.DEPTH_VISION, g)
    assert count(TextPrompts(text, node.N_CTX_TEXT, node.DEPTH_TEXT, g), vision) == 30_720
    assert count(TextPrompts(text, 4, 12, g)) == 24_576  # the language alone
    node = trainer_of("VPT", backbone="vit_b16").node
    assert count(VisionPrompts(image, node.N_CTX, node.DEPTH, g)) == 73_728
    node = trainer_of("PromptSRC", backbone="vit_b16").node
    vision = VisionPrompts(image, node.N_CTX_VISION, node.DEPTH_VISION, g)
    assert count(TextPrompts(text, node.N_CTX_TEXT, node.DEPTH_TEXT, g), vision) == 46_080
    node = trainer_of("TCP", backbone="vit_b16").node
    tcp_head = TCPHead(sentences, torch.zeros(3, 512), num_context=node.N_CTX, block=node.BLOCK, weight=8.0,
                       generator=g, logit_scale=SCALE)  # fmt: skip
    assert count(tcp_head) == 331_904
    node = trainer_of("MMRL", backbone="vit_b16").node
    sizes = {k.lower(): node[k] for k in ("N_TOKENS", "WIDTH", "FIRST", "LAST", "ALPHA", "WEIGHT", "CHUNK")}
    assert count(MMRLHead(image, sentences, torch.zeros(3, 512), NAMES, SCALE, g, **sizes)) == 4_992_256


@pytest.mark.parametrize(
    ("parameters", "count"), [("block-norms", 512), ("norms", 704), ("biases", 2 * 2 * 8 * 32 + 3 * 32)]
)
def test_which_weights_two_stage_learns(parameters, count):
    """Of two blocks of width 32 in each tower: 4 w per block, 2 w per norm at an end, 8 w of biases per block."""
    head = build("TwoStage", "TRAINER.TWOSTAGE.PARAMETERS", parameters)
    assert sum(p.numel() for n, p in head.named_parameters() if n != "classifier") == count
    assert head.classifier.shape == (3, tiny_vit.WIDTH)


def test_clip_svd_learns_as_many_numbers_as_the_smaller_sides_have():
    assert sum(p.numel() for p in build("CLIPSVD").parameters()) == 2 * 2 * 6 * 32


# ------------------------------------------------------------------ the start, tokens, and what is frozen


@pytest.mark.parametrize("method", ["CLIPSVD", "TwoStage"])
def test_training_starts_at_zero_shot_clip(method):
    clip, pixels = tiny_vit.load(), tiny_vit.pixels()
    text = torch.nn.functional.normalize(clip.encode_text(clip.tokenize(PHOTOS)), dim=-1)
    wanted = SCALE * torch.nn.functional.normalize(clip.encode_image(pixels), dim=-1) @ text.T
    with torch.no_grad():
        torch.testing.assert_close(build(method).eval()(pixels), wanted, atol=1e-4, rtol=1e-4)


def test_shallow_language_prompts_of_the_four_words_start_at_zero_shot_clip():
    options = ("N_CTX_TEXT", "4", "DEPTH_TEXT", "1", "DEPTH_VISION", "0")
    options = [o if i % 2 else f"TRAINER.IVLP.{o}" for i, o in enumerate(options)]
    clip, pixels = tiny_vit.load(), tiny_vit.pixels()
    with torch.no_grad():
        head = build("IVLP", *options).eval()
        wanted = torch.nn.functional.normalize(clip.encode_text(clip.tokenize(PHOTOS)), dim=-1)
        torch.testing.assert_close(head.text_features(), wanted, atol=1e-5, rtol=0)
        torch.testing.assert_close(head.image_features(pixels), clip.encode_image(pixels), atol=1e-5, rtol=1e-4)


def test_tokens_are_put_where_they_belong():
    x, new = torch.arange(10.0).reshape(1, 5, 2), torch.full((2, 2), -1.0)
    assert Tokens(new, 1).put(x)[0, :, 0].tolist() == [0, -1, -1, 6, 8]
    assert Tokens(new, -2).put(x)[0, :, 0].tolist() == [0, 2, 4, -1, -1]
    assert Tokens(new, 1, insert=True).put(x)[0, :, 0].tolist() == [0, -1, -1, 2, 4, 6, 8]
    each = torch.stack([new, 2 * new])
    assert Tokens(each, 1).put(x.expand(2, -1, -1))[1, 1:3, 0].tolist() == [-2, -2]
    assert torch.equal(Tokens(each, 1).of_rows(slice(1, 2)).values, each[1:])


@pytest.mark.parametrize("method", DEEP)
def test_chunks_change_no_logits_and_no_gradient(method):
    if method == "VPT":
        return  # its text never runs in training
    results, inputs = [], tiny_vit.pixels()
    if method == "TCP":
        inputs = tiny_vit.random(4, tiny_vit.WIDTH, dtype=torch.float32)
    for chunk in ("0", "2"):
        head = build(method, f"TRAINER.{method.upper()}.CHUNK", chunk)
        loss = sum(head.losses(inputs, LABELS).values())
        results.append([loss, *torch.autograd.grad(loss, [p for n, p in head.named_parameters() if n != "classifier"])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("method", DEEP)
def test_the_frozen_model_stays_as_it_is(method):
    clip, inputs = tiny_vit.load(), tiny_vit.pixels()
    before = tiny_vit.copy_of(clip)
    head = build(method)
    if method == "TCP":
        inputs = tiny_vit.random(4, tiny_vit.WIDTH, dtype=torch.float32)
    optim = torch.optim.SGD(head.parameters(), 0.1)
    for stage in (False, True):
        head.second_stage = stage  # of TwoStage
        optim.zero_grad()
        sum(head.losses(inputs, LABELS).values()).backward()
        optim.step()
    assert all(torch.equal(value, before[name]) for name, value in clip.model.state_dict().items())
    assert not any(p.requires_grad or p.grad is not None for p in clip.model.parameters())


@pytest.mark.parametrize(
    ("method", "option"),
    [("MaPLe", "DEPTH"), ("VPT", "DEPTH"), ("IVLP", "DEPTH_TEXT"), ("TCP", "BLOCK"), ("MMRL", "LAST")],
)
def test_more_depth_than_a_tower_has_is_refused(method, option):
    with pytest.raises(ValueError, match=r"tiny-test allows at most ([12]) .* Choose \1 or less"):
        build(method, f"TRAINER.{method.upper()}.{option}", "3")


def test_a_residual_network_has_no_tokens():
    with pytest.raises(ValueError, match="not a plain vision transformer"):
        ImageTower(load_clip("tiny-clip", "bundled"))


def test_rounded_tokens():
    """`official`: what enters a tower has the bits of half precision, but for the context."""
    head = build("IVLP", "TRAINER.IVLP.HALF_TOKENS", "True")
    exact = build("IVLP")
    with torch.no_grad():
        difference = (head.eval()(tiny_vit.pixels()) - exact.eval()(tiny_vit.pixels())).abs().max()
        for parameter in [*exact.vision.parameters(), *exact.prompts.deep]:
            parameter.copy_(parameter.half().float())
        torch.testing.assert_close(exact(tiny_vit.pixels()), head(tiny_vit.pixels()), atol=1e-5, rtol=0)
    assert difference > 0
    assert trainer_of("MaPLe", preset="official").node.HALF_TOKENS


# ------------------------------------------------------------------ schedules, averages, stages


def test_the_weights_of_epochs():
    weights = gaussian_weights(20, 15.0, 1.0)
    assert weights.sum().item() == pytest.approx(1)
    assert weights[12:17].sum() > 0.98  # epochs 13 to 17
    assert (weights[14] / weights[13]).item() == pytest.approx(torch.tensor(0.5).exp().item(), rel=1e-6)


def test_the_average_of_what_is_learned():
    head = build("PromptSRC", "TRAINER.PROMPTSRC.TEMPLATES", str(list(TWO_TEMPLATES)))
    average, start = Average(head), [p.detach().clone() for p in head.parameters()]
    average.add(head, 0.25)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(4.0)
    average.add(head, 0.75)
    head.load_state_dict(average.state_dict())
    for parameter, first in zip(head.parameters(), start, strict=True):
        torch.testing.assert_close(parameter.detach(), first + 3.0)


def test_two_cosines_follow_each_other():
    factor = two_cosines(6, 4, 0.005)
    first = [0.005 + 0.995 * (1 + torch.cos(torch.tensor(torch.pi * i / 6)).item()) / 2 for i in range(6)]
    second = [0.005 + 0.995 * (1 + torch.cos(torch.tensor(torch.pi * i / 4)).item()) / 2 for i in range(5)]
    assert [factor(i) for i in range(11)] == pytest.approx(first + second, abs=1e-6)


def test_the_second_stage_learns_the_classifier_alone_and_knows_classes_by_name():
    head = build("TwoStage")
    optim = torch.optim.AdamW(head.parameters(), 1e-2, weight_decay=0.1)
    with torch.no_grad():
        before = head.eval()(tiny_vit.pixels())
        head.start_classifier()
        torch.testing.assert_close(head(tiny_vit.pixels()), before, atol=1e-5, rtol=0)  # the model's own zero-shot
    head.train().second_stage = True
    towers = {n: p.detach().clone() for n, p in head.named_parameters() if n != "classifier"}
    rows = head.classifier.detach().clone()
    head.losses(tiny_vit.pixels(), LABELS)["ce"].backward()
    optim.step()
    assert all(torch.equal(head.get_parameter(n), p) for n, p in towers.items())
    assert not torch.equal(head.classifier, rows)
    other = build("TwoStage", names=("dog", "a new thing"))
    other.adopt(head)
    with torch.no_grad():
        text = other.eval().text_features()
        torch.testing.assert_close(text[0], torch.nn.functional.normalize(head.classifier[1], dim=-1))
        torch.testing.assert_close(text[1], other.adapted_text()[1])


def test_mmrl_has_the_class_token_alone_for_other_classes():
    head, other = moved("MMRL"), build("MMRL", names=("dog", "a new thing"))
    other.adopt(head)
    pixels = tiny_vit.pixels()
    with torch.no_grad():
        wanted = other.cosine(other.image_features(pixels), other.eval().text_features())
        torch.testing.assert_close(other(pixels), wanted)
        same = build("MMRL")
        same.adopt(head)
        torch.testing.assert_close(same.eval()(pixels), head.eval()(pixels))


def test_mmrl_on_shifted_data_sets():
    """Both parts of the logits; the class token's alone in the authors' code, which learns nothing else by it."""
    assert moved("MMRL").on_shifted().fused
    head = moved("MMRL", "TRAINER.MMRL.FUSED_ON_SHIFTED", "False").eval()
    shifted, pixels = head.on_shifted(), tiny_vit.pixels()
    with torch.no_grad():
        wanted = head.cosine(head.image_features(pixels), head.text_features())
        torch.testing.assert_close(shifted(pixels), wanted)
        assert not torch.allclose(head(pixels), wanted)
    shifted = ("TEST.TARGETS", "['imagenetv2']")
    assert not trainer_of("MMRL", *shifted, preset="official").node.FUSED_ON_SHIFTED
    assert trainer_of("MMRL", *shifted).node.FUSED_ON_SHIFTED


def test_a_cosine_that_swings():
    """The released code of CLIP-SVD in base-to-new: as long as there are epochs, stepped after each batch."""
    options = ("DATASET.SUBSAMPLE_CLASSES", "base")
    trainers = [trainer_of("CLIPSVD", *options, preset=preset) for preset in ("official", "repaired")]
    optim = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], trainers[0].cfg.OPTIM.LR)
    for trainer in trainers:
        trainer.train_loader_x = range(7)
    assert [t.build_schedule(optim).T_max for t in trainers] == [20, 140]
    assert trainers[0].node.STEPS_PER_SHOT == 0
    assert trainers[0].cfg.OPTIM.LR == 4e-4


def test_settings_by_data_set_and_preset():
    assert trainer_of("TwoStage", preset="official").node.PARAMETERS == "block-norms"
    assert trainer_of("TwoStage").node.PARAMETERS == "norms"
    assert trainer_of("CLIPSVD", preset="official").node.LOGIT_SCALE == 100.0
    base = trainer_of("PromptSRC", "DATASET.SUBSAMPLE_CLASSES", "base")
    assert (base.cfg.OPTIM.MAX_EPOCH, base.node.GPA_MEAN, base.node.GPA_STD) == (20, 15.0, 1.0)
    assert len(base.node.TEMPLATES) == 60
    with pytest.raises(ValueError, match="PARAMETERS is 'gains'. Choose one of"):
        trainer_of("TwoStage", "TRAINER.TWOSTAGE.PARAMETERS", "gains")
    with pytest.raises(ValueError, match=r"PRECISION is fp16.*bf16"):
        trainer_of("MaPLe", "MODEL.BACKBONE.PRECISION", "fp16")
