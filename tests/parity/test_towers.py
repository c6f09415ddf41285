"""Methods inside the towers against the authors' own modules, on a tiny ViT CLIP in float32."""

from __future__ import annotations

import pytest
import torch

from dassl.engine import TRAINER_REGISTRY
from helpers.golden_towers import Recorded, clip, need, optimiser
from simnl.fewshot.two_stages import two_cosines
from simnl.locations import CONFIGS
from simnl.plugins import load_plugins
from simnl.runs.config import assemble
from trainers.prompt_src import Average, gaussian_weights

load_plugins()  # where this file runs alone


def trainer_of(method: str, options: dict | None = None):
    """A trainer without data, with options of its own node."""
    need()
    files = [CONFIGS / "backbones" / "vit_b16.yaml", CONFIGS / "datasets" / "dtd.yaml"]
    files.append(CONFIGS / "trainers" / f"{method}.yaml")
    own = [text for k, v in (options or {}).items() for text in (f"TRAINER.{method.upper()}.{k}", str(v))]
    trainer = TRAINER_REGISTRY.get(method).__new__(TRAINER_REGISTRY.get(method))
    trainer.cfg = assemble(files, own, {"TRAINER.NAME": method, "SEED": 1})
    return trainer


def heads(method: str, golden: Recorded, options: dict, names: dict[str, str]):
    """The head of the classes of training at the authors' start, and one for classes that training does not see."""
    trainer = trainer_of(method, options)
    head, new = (trainer.build_head(golden.task(c), trainer.node) for c in (golden.classes, golden.new))
    golden.start(head, names)
    return head, new


@torch.no_grad()
def check_start(golden: Recorded, head, tolerance: float | None = None) -> None:
    golden.close("image_features", head.image_features(golden.images), tolerance)
    golden.close("logits", head.eval()(golden.images), tolerance)


@torch.no_grad()
def check_end(golden: Recorded, head, new, tolerance: float | None = None) -> None:
    golden.close("logits_step3", head.eval()(golden.images), tolerance)
    new.adopt(head)
    golden.close("logits_new", new.eval()(golden.images), tolerance)


TEXT, IMAGE = "text_encoder.transformer.resblocks.{}.VPT_shallow", "image_encoder.transformer.resblocks.{}.VPT_shallow"


def independent(text: int, vision: int) -> dict[str, str]:
    """Names of the parameters of IVLP and VPT, of so many blocks."""
    names = {}
    if text:
        names["prompts.context"] = "prompt_learner.ctx"
        names |= {f"prompts.deep.{i - 1}": TEXT.format(i) for i in range(1, text)}
    if vision:
        names["vision.first"] = "image_encoder.VPT"
        names |= {f"vision.deep.{i - 1}": IMAGE.format(i) for i in range(1, vision)}
    return names


def coupled(depth: int) -> dict[str, str]:
    """Names of the parameters of MaPLe."""
    names = {"prompts.context": "prompt_learner.ctx"}
    names |= {f"prompts.deep.{i}": f"prompt_learner.compound_prompts_text.{i}" for i in range(depth - 1)}
    for part in ("weight", "bias"):
        names[f"couplings.0.{part}"] = f"prompt_learner.proj.{part}"
        for i in range(depth - 1):
            names[f"couplings.{i + 1}.{part}"] = f"prompt_learner.compound_prompt_projections.{i}.{part}"
    return names


IVLP_2 = {"N_CTX_TEXT": 2, "N_CTX_VISION": 2, "DEPTH_TEXT": 4, "DEPTH_VISION": 4}
CASES = [
    ("maple", "MaPLe", {"N_CTX": 2, "DEPTH": 3}, coupled(3)),
    ("maple_shallow", "MaPLe", {"N_CTX": 5, "DEPTH": 1}, coupled(1)),
    ("ivlp", "IVLP", IVLP_2, independent(4, 4)),
    ("ivlp_rounded", "IVLP", {**IVLP_2, "HALF_TOKENS": True}, independent(4, 4)),
    ("ivlp_text", "IVLP", {"N_CTX_TEXT": 4, "DEPTH_TEXT": 4, "DEPTH_VISION": 0}, independent(4, 0)),
    ("vpt", "VPT", {"N_CTX": 8, "DEPTH": 4}, independent(0, 4)),
]


@pytest.mark.parametrize(("golden", "method", "options", "names"), CASES, ids=[case[0] for case in CASES])
def test_tokens_in_the_towers(golden, method, options, names):
    rounded = 2e-3 if golden == "ivlp_rounded" else None
    golden = Recorded(golden)
    head, new = heads(method, golden, options, names)
    check_start(golden, head)
    golden.check_steps(head, names, optimiser(golden, head), rounded)
    check_end(golden, head, new, rounded)


@pytest.mark.parametrize(("golden", "depth"), [("maple", 3), ("ivlp", 4)])
def test_the_output_of_every_block(golden, depth):
    method, options, names = next(case[1:] for case in CASES if case[0] == golden)
    golden, outputs = Recorded(golden), {"text": [], "image": []}
    head, _ = heads(method, golden, options, names)
    model = clip().model
    hooks = []
    for kind, transformer in (("text", model.transformer), ("image", model.visual.transformer)):
        keep = outputs[kind]
        hooks += [b.register_forward_hook(lambda m, i, o, keep=keep: keep.append(o)) for b in transformer.resblocks]
    with torch.no_grad():
        head.eval()(golden.images)
    for hook in hooks:
        hook.remove()
    for kind, found in outputs.items():
        assert len(found) == 4
        for number, output in enumerate(found):
            theirs = golden.tensors[f"{kind}_layer/{number}"][:, : output.shape[1]]
            assert (output - theirs).abs().max() <= 1e-5 * theirs.abs().max(), (kind, number)


@torch.no_grad()
def test_prompt_src_targets():
    golden = Recorded("promptsrc")
    head, _ = heads("PromptSRC", golden, SRC, independent(3, 3))
    golden.close("gauss", gaussian_weights(3, 2.0, 1.0), 1e-6)
    fixed = torch.nn.functional.normalize(golden.tensors["fixed_embeddings"], dim=-1)
    torch.testing.assert_close(head.text_target, fixed, atol=1e-5, rtol=0)


def test_prompt_src():
    golden, names = Recorded("promptsrc"), independent(3, 3)
    head, new = heads("PromptSRC", golden, SRC, names)
    check_start(golden, head)
    check_terms(golden, head)
    average, optim = Average(head), optimiser(golden, head)
    for number, (images, labels) in enumerate(golden.steps()):
        loss = sum(head.losses(images, labels).values())
        golden.close(f"loss/{number}", loss)
        optim.zero_grad()
        loss.backward()
        optim.step()
        average.add(head, gaussian_weights(3, 2.0, 1.0)[number].item())
        for name, parameter in head.named_parameters():
            golden.close(f"step{number + 1}/{names[name]}", parameter)
    head.load_state_dict(average.state_dict())
    for name, parameter in head.named_parameters():
        golden.close(f"average/{names[name]}", parameter)
    with torch.no_grad():
        golden.close("logits_average", head.eval()(golden.images))
        new.adopt(head)
        golden.close("logits_new", new.eval()(golden.images))


def check_terms(golden: Recorded, head, weights: dict[str, float] | None = None) -> None:
    """The terms of the loss at the start; weights: what ours are divided by."""
    images, labels = next(golden.steps())
    ours = {name: value / (weights or {}).get(name, 1.0) for name, value in head.losses(images, labels).items()}
    theirs = [float(v) for k, v in sorted(golden.tensors.items()) if k.startswith("term/")]
    assert sorted(v.item() for v in ours.values()) == pytest.approx(sorted(theirs), rel=5e-5, abs=1e-7)


SRC = {"N_CTX_TEXT": 4, "N_CTX_VISION": 4, "DEPTH_TEXT": 3, "DEPTH_VISION": 3}


def test_tcp():
    golden = Recorded("tcp")
    golden.images = clip().encode_image(golden.images)  # its image features are constants
    names = {"context": "prompt_learner.ctx"}
    for number in (0, 1):
        for part in ("weight", "bias"):
            names[f"network.{number}.{part}"] = f"prompt_learner.meta_net.linear{number + 1}.{part}"
    options = {"BLOCK": 2, "TEMPLATE": "a photo of a {}, a type of texture.", "PROMPT": "X X X X {} texture."}
    head, new = heads("TCP", golden, options, names)
    check_start(golden, head)
    golden.close("class_feature", head.class_tokens(), 1e-5)
    check_terms(golden, head, {"text": 8.0})
    golden.check_steps(head, names, optimiser(golden, head))
    check_end(golden, head, new)


def test_mmrl():
    golden, prefix = Recorded("mmrl"), "representation_learner.compound_rep_tokens"
    names = {"space": prefix, "projection": "image_encoder.proj_rep"}
    for ours, theirs in (("to_image", "r2vproj"), ("to_text", "r2tproj")):
        for i in range(3):
            names |= {f"{ours}.{i}.{part}": f"{prefix}_{theirs}.{i}.{part}" for part in ("weight", "bias")}
    options = {"WIDTH": 40, "FIRST": 1, "LAST": 3, "WEIGHT": 0.5, "LOGIT_SCALE": 100.0}
    head, new = heads("MMRL", golden, options, names)
    with torch.no_grad():
        images, tokens = head.both_features(golden.images)
        golden.close("image_features", images)
        golden.close("image_features_rep", tokens, 1e-5)
        golden.close("logits_fusion", head.eval()(golden.images), 2e-5)
        golden.close("logits", head.cosine(images, head.text_features()))
        golden.close("logits_rep", head.cosine(tokens, head.text_features()), 2e-5)
    head.train()
    check_terms(golden, head, {"ce": 0.7, "ce_tokens": 1 - 0.7, "image": 0.5, "text": 0.5})
    golden.check_steps(head, names, optimiser(golden, head))
    with torch.no_grad():
        golden.close("logits_fusion_step3", head.eval()(golden.images))
        new.adopt(head)
        golden.close("logits_new", new.eval()(golden.images))


SVD = {"attn.q": "attn.q_proj", "attn.k": "attn.k_proj", "attn.v": "attn.v_proj", "attn.out_proj.weight": "attn.proj",
       "mlp.c_fc.weight": "mlp.c_fc", "mlp.c_proj.weight": "mlp.c_proj"}  # fmt: skip


def test_clip_svd():
    golden, names = Recorded("clip_svd"), {}
    for side, prefix in (("image", "visual."), ("text", "")):
        for block in range(4):
            for ours, theirs in SVD.items():
                place = f"transformer.resblocks.{block}."
                names[f"{side}.sigma.{place}{ours}"] = f"{prefix}{place}{theirs}.vector_S"
    trainer = trainer_of("CLIPSVD", {"LOGIT_SCALE": 100.0})
    head, new = (trainer.build_head(golden.task(c), trainer.node) for c in (golden.classes, golden.new))
    for name, parameter in head.named_parameters():
        golden.close(f"init/{names[name]}", parameter, 5e-6)
    golden.start(head, names)
    with torch.no_grad():
        golden.close("zero_shot_logits", head.eval()(golden.images), 2e-5)
        golden.close("logits", head(golden.images))
    head.train()
    optim = torch.optim.AdamW(head.parameters(), 5e-4, weight_decay=1.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optim, 3, 1e-6)
    kept = {}
    for number, (images, labels) in enumerate(golden.steps()):
        loss = sum(head.losses(images, labels).values())
        golden.close(f"loss/{number}", loss)
        optim.zero_grad()
        loss.backward()
        for name, parameter in head.named_parameters() if number == 0 else ():
            golden.close(f"grad/{names[name]}", parameter.grad)
            grad = golden.tensors[f"grad/{names[name]}"].abs()
            kept[name] = grad >= 1e-4 * grad.max()
        optim.step()
        schedule.step()
        for name, parameter in head.named_parameters() if number in (0, 2) else ():
            golden.close(f"step{number + 1}/{names[name]}", parameter, None, kept[name])
    check_end(golden, head, new)


@pytest.mark.parametrize(("prefix", "parameters"), [("", "block-norms"), ("bitfit/", "biases"), ("ln_ends/", "norms")])
def test_two_stage(prefix, parameters):
    golden = Recorded("twostage")
    mixed = tuple(golden.settings[f"{prefix}mixed"])
    trainer = trainer_of("TwoStage", {"PARAMETERS": parameters})
    head, new, other = (
        trainer.build_head(golden.task(names), trainer.node) for names in (golden.classes, golden.new, mixed)
    )
    towers = [n for n, _ in head.named_parameters() if n != "classifier"]
    names = {n: n.replace("image.", "visual.", 1).removeprefix("text.") for n in towers}
    counts = (prefix + "learned numbers in stage 1", sum(head.get_parameter(n).numel() for n in towers))
    assert golden.settings[counts[0]] == counts[1]
    optim = torch.optim.AdamW(head.parameters(), 2e-4, weight_decay=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optim, two_cosines(3, 2, 1e-6 / 2e-4))
    steps = [*golden.steps()]
    for number, (images, labels) in enumerate([*steps, *steps[:2]]):
        head.second_stage = number >= 3
        if number == 3:
            assert not head.classifier.any()  # nothing, weight decay least of all, has touched it
            for n in towers:
                golden.close(f"{prefix}stage1/{names[n]}", head.get_parameter(n), 1e-5)
            head.start_classifier()
            golden.close(f"{prefix}classifier_init", head.classifier, 1e-5)
        loss = head.losses(images, labels)["ce"]
        optim.zero_grad()
        loss.backward()
        if number == 0:
            golden.close(f"{prefix}loss_start", loss, 5e-5)
            for n in towers:
                golden.close(f"{prefix}grad/{names[n]}", head.get_parameter(n).grad, 1e-4)
        if number == 3:
            golden.close(f"{prefix}stage2_loss_start", loss, 5e-5)
            golden.close(f"{prefix}grad_classifier", head.classifier.grad, 5e-5)
        optim.step()
        schedule.step()
    golden.close(f"{prefix}classifier", head.classifier, 1e-5)
    for key, target in (("logits", head), ("logits_new", new), ("logits_mixed", other)):
        if target is not head:
            target.adopt(head)
        with torch.no_grad():
            golden.close(prefix + key, target.eval()(golden.images), 2e-5)
