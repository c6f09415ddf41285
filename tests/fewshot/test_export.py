"""Exported programs: every registered method gives the logits of its head, or says why it cannot."""

from __future__ import annotations

import functools
import io
import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dassl.engine import TRAINER_REGISTRY
from helpers.methods import CLASSES, CLIP, METHODS, make_head
from simnl.fewshot import export as exporting
from simnl.fewshot.adapters import ClassNegativeKeys, MovedKeys, SupportRows, cache_terms
from simnl.fewshot.description import FEATURES, HIDDEN, PIXELS, BackboneDescription, HeadDescription
from simnl.fewshot.export import ONNX, TORCH, Program, export, why_not
from simnl.fewshot.head import ClassifierHead, Head
from simnl.fewshot.loaded_head import LoadedHead
from simnl.locations import ROOT

REFUSED = {"CoCoOp": "prompts of its own", "TDA": "one after the other", "TransCLIP": "all test images at once"}
EXPORTED = sorted(set(METHODS) - set(REFUSED))
# In ONNX, whose exporter takes a second or more: a tower of the method's own, and a classifier alone. SimNL behind its
# tower is in tests/tools/test_export.py. All others are checked as programs of torch.export.
IN_ONNX = ["CLIPLoRA", "ZeroshotCLIP"]
PLAIN = ("method", "backbone", "architecture", "fingerprint", "protocol", "dataset", "package_version")
needs_onnx = pytest.mark.skipif(
    any(exporting.importlib.util.find_spec(name) is None for name in exporting.PACKAGES),
    reason="ONNX's packages are not installed: pip install onnx onnxscript onnxruntime",
)


@functools.cache
def exported(method: str, format: str) -> Program:
    return export(loaded(method)[0], format)


@functools.cache
def loaded(method: str) -> tuple[LoadedHead, torch.Tensor]:
    """A head whose parameters moved, as a file of it would give it, and inputs that it takes, (15, ...)."""
    head, task = make_head(method, 3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    trainer = TRAINER_REGISTRY.get(method)
    takes = PIXELS if not trainer.image_encoder_frozen else HIDDEN if trainer.before_projection else FEATURES
    names = ("a\nb", "\u00e9t\u00e9", *task.classnames[2:])
    about = HeadDescription(
        method, names, BackboneDescription.of(task.clip), takes=takes, temperature=1.5, hparams={"beta": 2.0}
    )
    deployed = head.deployed().eval().requires_grad_(False)
    return LoadedHead(deployed, about, Path("head.safetensors"), torch.device("cpu")), task.support_features[1]


def served(program: Program) -> Callable[[torch.Tensor], torch.Tensor]:
    """What a reader of the file computes; inputs to logits."""
    if program.format == TORCH:
        return torch.export.load(io.BytesIO(program.content)).module()
    import onnxruntime

    session = onnxruntime.InferenceSession(program.content, providers=["CPUExecutionProvider"])
    return lambda inputs: torch.from_numpy(session.run(["logits"], {program.input: inputs.numpy()})[0])


def check(program: Program, inputs: torch.Tensor, wanted: torch.Tensor) -> None:
    """Equal for many rows and for one, which says that the batch is free."""
    logits, scale = served(program), wanted.abs().max()
    for rows in (len(inputs), 1):
        found = logits(inputs[:rows])
        assert (found.dtype, found.shape) == (torch.float32, (rows, CLASSES))
        assert (found - wanted[:rows]).abs().max() < 1e-4 * scale
    assert program.difference < 1e-4


# ---------------------------------------------------------------------- every method


@pytest.mark.parametrize("method", EXPORTED)
def test_a_program_of_torch_has_the_logits_of_the_head(method):
    head, inputs = loaded(method)
    assert why_not(head) == ""
    check(exported(method, TORCH), inputs, head.logits(inputs))


@needs_onnx
@pytest.mark.parametrize("method", IN_ONNX)
def test_a_program_of_onnx_has_the_logits_of_the_head(method):
    head, inputs = loaded(method)
    check(exported(method, ONNX), inputs, head.logits(inputs))


@pytest.mark.parametrize("method", REFUSED)
def test_what_cannot_be_exported_says_why(method):
    head, _ = loaded(method)
    with pytest.raises(ValueError, match=rf"head.safetensors cannot be exported: {method} .*{REFUSED[method]}.*\.$"):
        export(head, TORCH)


def test_the_page_lists_what_cannot_be_exported():
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    table = page[page.index("| method | why not |") :].split("\n\n")[0]
    assert sorted(re.findall(r"^\| (\w+) \|", table, re.M)[1:]) == sorted(REFUSED)


def test_a_cache_with_classes_of_any_size():
    keys, labels = torch.nn.functional.normalize(torch.randn(7, 128), dim=-1), torch.tensor([3, 0, 1, 0, 0, 4, 2])
    about = loaded("SimNL")[0].about
    order = labels.sort().values
    rows = SupportRows(keys, order, labels, CLASSES)
    for cache in (MovedKeys(rows, torch.ones(7)), ClassNegativeKeys(rows, torch.ones(7))):
        torch.nn.init.normal_(cache.residual, std=0.02)
        head = LoadedHead(CacheAlone(cache).requires_grad_(False), about, Path("x"), torch.device("cpu"))
        inputs = torch.randn(4, 128)
        check(export(head, TORCH), inputs, head.logits(inputs))


class CacheAlone(Head):
    """The evidence of a cache as logits."""

    def __init__(self, cache):
        super().__init__()
        self.cache = cache

    def forward(self, features):
        f = torch.nn.functional.normalize(features, dim=-1)
        return self.cache.logits(cache_terms([self.cache], f)[0], 5.0)


# ---------------------------------------------------------------------- towers


@pytest.mark.parametrize("method", ["ZeroshotCLIP", "ProLIP"])  # in ONNX: tests/tools/test_export.py
def test_with_its_tower_a_program_takes_pixels(method):
    head, _ = loaded(method)
    encoder = head.encoder(clip=CLIP)
    pixels = torch.randn(3, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    program = export(head, TORCH, clip=encoder.clip)
    assert (program.input, program.shape) == (PIXELS, (3, 48, 48))
    check(program, pixels, head.logits(encoder.inputs(pixels)))
    tower = sum(parameter.numel() for parameter in CLIP.model.visual.parameters())
    assert 4 * tower < len(program.content) < 4.5 * tower + 1e6  # and no text tower


# ---------------------------------------------------------------------- metadata


def facts_in(program: Program) -> dict:
    """What the file says, by a reader of its format that is not ours."""
    if program.format == TORCH:
        with zipfile.ZipFile(io.BytesIO(program.content)) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("about.json")]
            return json.loads(archive.read(name))
    import onnx

    model = onnx.load_from_string(program.content)
    onnx.checker.check_model(model)
    texts = {prop.key: prop.value for prop in model.metadata_props}
    return {key: text if key in PLAIN else json.loads(text) for key, text in texts.items()}


@pytest.mark.parametrize("format", [TORCH, pytest.param(ONNX, marks=needs_onnx)])
def test_the_file_says_what_is_needed_to_serve_it(format):
    head, _ = loaded("ZeroshotCLIP")
    facts = facts_in(exported("ZeroshotCLIP", format))
    transform = {key: list(v) if isinstance(v, tuple) else v for key, v in CLIP.preprocess.items()}
    wanted = {"method": "ZeroshotCLIP", "classnames": list(head.classnames), "temperature": 1.5,
              "hparams": {"beta": 2.0}, "fingerprint": CLIP.fingerprint, "architecture": CLIP.arch,
              "transform": transform,
              "input": {"name": "features", "shape": ["batch", 128], "holds": "features"},
              "output": {"name": "logits", "shape": ["batch", CLASSES]}}  # fmt: skip
    assert {key: facts[key] for key in wanted} == wanted


@pytest.mark.parametrize("format", [TORCH, pytest.param(ONNX, marks=needs_onnx)])
def test_a_file_says_nothing_of_the_machine(format):
    content = exported("CLIPLoRA", format).content
    parts = [content]
    if format == TORCH:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = [archive.read(name) for name in archive.namelist()]
    for place in (str(ROOT), str(Path(torch.__file__).parent)):
        assert not any(place.encode() in part for part in parts)


# ---------------------------------------------------------------------- what goes wrong


class Loop(Head):
    """Goes through its images one by one."""

    def forward(self, features):
        return torch.stack([row[:CLASSES] for row in features])


class Forgetful(ClassifierHead):
    """Computes something else while it is written down."""

    def forward(self, features):
        return super().forward(features) * (1.001 if torch.compiler.is_compiling() else 1.0)


def test_a_head_that_cannot_be_followed_is_named():
    head, _ = loaded("ZeroshotCLIP")
    with pytest.raises(RuntimeError, match="cannot export ZeroshotCLIP as a program: .*DEBUG=1") as told:
        export(replace(head, head=Loop()), TORCH)
    assert "\n" not in str(told.value)


def test_other_logits_are_noticed():
    head, _ = loaded("ZeroshotCLIP")
    with pytest.raises(RuntimeError, match=r"logits that differ from those of head.safetensors by 1.0e-03"):
        export(replace(head, head=Forgetful(torch.eye(CLASSES, 128), 1.0)), TORCH)


def test_formats(monkeypatch):
    head, _ = loaded("ZeroshotCLIP")
    with pytest.raises(ValueError, match="The format is 'tf'. Choose one of torch, onnx"):
        export(head, "tf")
    monkeypatch.setattr(exporting, "PACKAGES", ("torch", "no_such_package"))
    with pytest.raises(ImportError, match=r"not installed \(no_such_package\). Run .*pip install no_such_package, or"):
        export(head, ONNX)
    export(head, TORCH)


@needs_onnx
def test_what_one_onnx_file_cannot_hold(monkeypatch):
    monkeypatch.setattr(exporting, "LARGEST_ONNX", 1000)
    with pytest.raises(ValueError, match="more than the 2 GB that one ONNX file holds. Choose --format torch"):
        export(loaded("ZeroshotCLIP")[0], ONNX)
