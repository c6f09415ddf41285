"""Write a trained head as a program for torch.export or ONNX, which runs without this repository.

    head alone      raw image features (B, D) -> logits (B, C)
    with its tower  normalised pixels (B, 3, H, W) -> logits (B, C)

B is free, and everything is float32. The metadata of a program have the class names, the transform of images and the
temperature (`Program.facts`). Before a program is returned, its logits on random inputs are compared with those of the
head; onnxruntime computes those of ONNX, and PyTorch those of torch.export.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dassl.engine import TRAINER_REGISTRY
from simnl.clip.model import FrozenCLIP
from simnl.clip.views import ViewSpec
from simnl.config_names import check_choice
from simnl.escaping import shortened
from simnl.fewshot.capabilities import INFERENCE
from simnl.fewshot.description import PIXELS, HeadDescription
from simnl.fewshot.loaded_head import LoadedHead
from simnl.files import replacing

TORCH, ONNX = "torch", "onnx"
ENDINGS = {TORCH: ".pt2", ONNX: ".onnx"}
PACKAGES = ("onnx", "onnxscript", "onnxruntime")  # the packages of the extra `export`
ABOUT = "about.json"  # the file with the facts in an archive of torch.export
FEATURES, LOGITS, BATCH = "features", "logits", "batch"  # names in a program
TOLERANCE = 1e-4  # the largest difference of logits, relative to the largest logit
ROWS, LARGEST_BATCH = 2, 2**20  # rows of the inputs for an export and its check; the most rows of a program
LARGEST_ONNX = 2**31 - 2**20  # bytes; one file of protocol buffers has at most 2 GB, and the graph needs room


@dataclass(frozen=True)
class Program:
    """An exported head whose logits were checked.

    Attributes:
        format: `torch` or `onnx`.
        input: the name of the input, `features` or `pixels`.
        shape: the shape of one input, without the batch: (D,) or (3, H, W).
        facts: the json object in which the file describes itself.
        difference: the largest difference of its logits from the head's, relative to the largest logit.
        content: the bytes of the file.
    """

    format: str
    input: str
    shape: tuple[int, ...]
    facts: dict[str, Any]
    difference: float
    content: bytes

    def save(self, path: Path) -> None:
        """Write the file as a whole or not at all; an OSError says why it cannot be written."""
        with replacing(path) as temporary:
            temporary.write_bytes(self.content)


def why_not(loaded: LoadedHead) -> str:
    """Why a head cannot be exported, in one sentence; empty if it can."""
    method = loaded.about.method
    inference = TRAINER_REGISTRY.get(method).inference
    if inference != "inductive":
        return f"{method} {INFERENCE[inference]}, and an exported program answers each image by itself."
    return loaded.head.not_exported and f"{method} {loaded.head.not_exported}"


def export(loaded: LoadedHead, format: str, *, clip: FrozenCLIP | None = None) -> Program:
    """Export a head as a program.

    Args:
        loaded: the head, on the CPU.
        format: `torch` or `onnx`.
        clip: the CLIP that gives the head's inputs (`LoadedHead.encoder().clip`), to export its image tower as well. A
            head that takes pixels contains its tower.

    Raises:
        ValueError: the method cannot be exported, the format is unknown, or the program is too large for ONNX.
        ImportError: the packages for ONNX are not installed.
        RuntimeError: PyTorch cannot export the head, or the program's logits differ from those of the head.
    """
    check_choice("The format", format, ENDINGS)
    if reason := why_not(loaded):
        raise ValueError(f"{loaded.path} cannot be exported: {reason}")
    if format == ONNX:
        require_onnx()
    takes_pixels = loaded.about.takes == PIXELS or clip is not None
    name, shape = (PIXELS, _image_shape(loaded.about)) if takes_pixels else (FEATURES, (loaded.about.backbone.width,))
    inputs = torch.randn(ROWS, *shape, generator=torch.Generator().manual_seed(0))
    module = _Whole(loaded.head, clip.model.encode_image if clip is not None and name != loaded.about.takes else None)
    facts = describe_program(loaded.about, name, shape)
    with torch.no_grad(), _quiet():
        expected = module(inputs)  # called first, so that values that a head computes once become constants
        content, found = {TORCH: _as_torch, ONNX: _as_onnx}[format](module.eval(), name, inputs, facts)
    difference = float((found - expected).abs().max() / expected.abs().max())
    if not difference < TOLERANCE:
        raise RuntimeError(
            f"The exported {loaded.about.method} gives logits that differ from those of {loaded.path} by "
            f"{difference:.1e} of the largest one, and {TOLERANCE} is allowed. Nothing was written. Please report this."
        )
    return Program(format, name, shape, facts, difference, content)


def require_onnx() -> None:
    """Check that ONNX can be written; an ImportError says what to install."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f"ONNX needs packages that are not installed ({', '.join(missing)}). Run .venv/bin/pip install "
            f"{' '.join(missing)}, or choose --format {TORCH}."
        )


def describe_program(about: HeadDescription, name: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """The json object in which the file of a program describes itself; docs/export.md explains it."""
    backbone = about.backbone
    return {
        "method": about.method,
        "classnames": list(about.classnames),
        "input": {"name": name, "shape": [BATCH, *shape], "holds": about.takes if name == FEATURES else name},
        "output": {"name": LOGITS, "shape": [BATCH, len(about.classnames)]},
        "temperature": about.temperature,
        "transform": backbone.transform,
        "backbone": backbone.name,
        "architecture": backbone.arch,
        "fingerprint": backbone.fingerprint,
        "hparams": about.hparams,
        "num_shots": about.num_shots,
        "protocol": about.protocol,
        "dataset": about.dataset,
        "seed": about.seed,
        "package_version": about.package_version,
    }


class _Whole(nn.Module):
    """A head, with the image tower before it if there is one.

    The tower is not a submodule, so that the file holds only the part that the program uses, without the text tower.
    """

    def __init__(self, head: nn.Module, encode_image: Callable[..., Tensor] | None):
        super().__init__()
        self.head, self.encode_image = head, encode_image

    def forward(self, inputs: Tensor) -> Tensor:
        """Features (B, D), or pixels (B, 3, H, W), to logits (B, C) float32."""
        if self.encode_image is not None:
            inputs = self.encode_image(inputs, normalize=False).float()
        return self.head(inputs).float()


def _image_shape(about: HeadDescription) -> tuple[int, int, int]:
    size = ViewSpec.test(about.backbone.transform).size
    return 3, size, size


def _free_batch() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim(BATCH, max=LARGEST_BATCH)},)


@contextmanager
def _following(facts: dict[str, Any]) -> Iterator[None]:
    """Turn PyTorch's long report on an export that failed into one sentence, with the report as its cause."""
    try:
        yield
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise RuntimeError(
            f"PyTorch cannot export {facts['method']} as a program: {shortened(reason)} DEBUG=1 shows the full report. "
            "CONTRIBUTING.md says what a head must avoid so that it can be exported."
        ) from error


def _traced(module: nn.Module, inputs: Tensor, facts: dict[str, Any]) -> torch.export.ExportedProgram:
    """The program of torch.export with a free batch, without the source locations that PyTorch adds."""
    with _following(facts):
        program = torch.export.export(module, (inputs,), dynamic_shapes=_free_batch(), strict=False)
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def _as_torch(module: nn.Module, name: str, inputs: Tensor, facts: dict[str, Any]) -> tuple[bytes, Tensor]:
    traced, file = _traced(module, inputs, facts), io.BytesIO()
    traced.example_inputs = None  # serving does not need them
    torch.export.save(traced, file, extra_files={ABOUT: json.dumps(facts)})
    return file.getvalue(), traced.module()(inputs)


def _as_onnx(module: nn.Module, name: str, inputs: Tensor, facts: dict[str, Any]) -> tuple[bytes, Tensor]:
    import onnxruntime

    traced = _traced(module, inputs, facts)
    if sum(tensor.nbytes for tensor in [*traced.state_dict.values(), *traced.constants.values()]) > LARGEST_ONNX:
        raise ValueError(f"The weights have more than the 2 GB that one ONNX file holds. Choose --format {TORCH}.")
    with _following(facts):  # exported again, so that the batch dimension gets its name
        program: Any = torch.onnx.export(
            traced,
            (),
            dynamo=True,
            verbose=False,
            input_names=[name],
            output_names=[LOGITS],
            dynamic_shapes=_free_batch(),
        )
    program.model.metadata_props.update({key: _text(value) for key, value in facts.items()})
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, torch.from_numpy(session.run([LOGITS], {name: inputs.numpy()})[0])


def _text(value: Any) -> str:
    """A value as text, because ONNX's metadata are texts: json, unless the value is a text already."""
    return value if isinstance(value, str) else json.dumps(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Within the block, messages of the exporters about their own work are not shown."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, before, strict=True):
                logger.setLevel(level)
