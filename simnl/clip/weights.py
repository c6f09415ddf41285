"""Find out what kind of file WEIGHTS names, before a model is built. Nothing is ever unpickled.

Three forms are read: safetensors, a state dict of `torch.save` (tensors alone, also below a key such as `model`, also
with a prefix such as `module.`), and OpenAI's TorchScript archive. For any other file the error says what it is
and what to do.
"""

from __future__ import annotations

import logging
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

log = logging.getLogger(__name__)

Shapes = Mapping[str, tuple[int, ...]]

TAKEN = "Weights are taken from a safetensors file, a state dict saved with torch.save, or OpenAI's TorchScript archive"
SAVE_AGAIN = "torch.save(model.state_dict(), 'weights.pt')"
WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net", "weights")  # keys of training checkpoints
READ_BY_OPEN_CLIP = ("", "state_dict")  # wrappers that open_clip removes itself, like the prefix `module.`
ANCHOR = "logit_scale"  # every CLIP has it, so text before it is a prefix
LEGACY_TORCH = bytes.fromhex("6cfc9c46f9206aa85019")  # the number at the start of torch.save's files before 1.6
SHOWN = 3

SIGNATURES = {
    b"version https://git-lfs": ("a Git LFS pointer, not the file that it stands for", "run `git lfs pull` there"),
    b"\x93NUMPY": ("a NumPy array", ""),
    b"\x89PNG": ("an image", ""),
    b"\xff\xd8\xff": ("an image", ""),
    b"GIF8": ("an image", ""),
    b"\x1f\x8b": ("compressed with gzip", "unpack it"),
    b"BZh": ("compressed with bzip2", "unpack it"),
    b"\xfd7zXZ": ("compressed with xz", "unpack it"),
    b"\x28\xb5\x2f\xfd": ("compressed with zstd", "unpack it"),
    b"7z\xbc\xaf": ("a 7z archive", "unpack it"),
    b"Rar!": ("a rar archive", "unpack it"),
    b"%PDF": ("a PDF document", ""),
    b"\x89HDF": ("an HDF5 file (of Keras or TensorFlow)", ""),
    b"GGUF": ("a GGUF file", ""),
}  # start of a file -> kind of file, advice


@dataclass(frozen=True)
class Checkpoint:
    """A weights file that can be read.

    Attributes:
        torchscript: True for an archive as OpenAI publishes them; `shapes` is then empty.
        shapes: the shapes of the tensors, by name, without wrapper and prefix.
        by_open_clip: True if open_clip reads the file as it is.
        tensors: a function that reads the tensors, under the names of `shapes`.
    """

    torchscript: bool
    shapes: dict[str, tuple[int, ...]]
    by_open_clip: bool
    tensors: Callable[[], dict[str, Tensor]]


def open_checkpoint(path: str | Path) -> Checkpoint:
    """Look into a weights file.

    Raises:
        ValueError: the file is of another kind, damaged, or holds pickled objects. The message has file, cause and
            remedy.
    """
    path = Path(path)
    if path.is_dir():
        raise _refusal(path, "is a folder", f"give the file in it{_candidates(path)}")
    with path.open("rb") as file:
        head = file.read(512)
    form = _form(path, head)
    if form == "torchscript":
        return Checkpoint(True, {}, False, dict)
    if form == "safetensors":
        shapes, wrapper, read = _open_safetensors(path), "", lambda: load_file(path)
    else:
        wrapper, state = _unwrap(path, _load_tensors(path, form == "torch"))
        shapes, read = {name: tuple(value.shape) for name, value in state.items()}, lambda: state
    if not shapes:
        raise _refusal(path, "holds no tensor", f"save it anew: {SAVE_AGAIN}")
    prefix = _prefix(shapes)
    usual_name = (path.suffix == ".safetensors") == (form == "safetensors") and path.suffix not in (".npz", ".npy")
    by_open_clip = usual_name and wrapper in READ_BY_OPEN_CLIP and prefix in ("", "module.")
    if not by_open_clip and (wrapper or prefix):
        places = [f"under the key '{wrapper}'"] * bool(wrapper) + [f"with the prefix '{prefix}'"] * bool(prefix)
        log.info("%s: the tensors of the model are found %s.", path, " and ".join(places))
    return Checkpoint(False, _without(prefix, shapes), by_open_clip, lambda: _without(prefix, read()))


def shapes_of(model: nn.Module) -> Shapes:
    """The shapes of a model's tensors, by name."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def misfit(wanted: Shapes, shapes: Shapes, arch: str) -> str:
    """How the tensors of a file differ from those that are wanted, with a few names for each kind of difference.

    Args:
        wanted: the shapes of the model's tensors, by name.
        shapes: the shapes of the file's tensors, by name.
        arch: whose tensors are wanted, for the message.

    Returns:
        Clauses of a sentence; empty if there is no difference.
    """
    other = [f"{n} is {_by(shapes[n])}, not {_by(wanted[n])}" for n in wanted if n in shapes and shapes[n] != wanted[n]]
    missing, unknown = [n for n in wanted if n not in shapes], [n for n in shapes if n not in wanted]
    clauses = [
        f"{len(other)} of its tensors have another shape ({_few(other)})" if other else "",
        f"{len(missing)} of {arch}'s {len(wanted)} tensors are not in it ({_few(missing)})" if missing else "",
        f"{len(unknown)} of its {len(shapes)} tensors are not in {arch} ({_few(unknown)})" if unknown else "",
    ]
    return "; ".join(filter(None, clauses))


def _refusal(path: Path, cause: str, remedy: str = "") -> ValueError:
    return ValueError(f"The weights file {path} {cause}: {remedy or 'give another file'}. {TAKEN}.")


def _form(path: Path, head: bytes) -> str:
    """`safetensors`, `torch`, `torch-legacy` or `torchscript`, by content; other files raise ValueError."""
    if not head:
        raise _refusal(path, "is empty", "fetch it again")
    known = next((about for start, about in SIGNATURES.items() if head.startswith(start)), None)
    if known:
        raise _refusal(path, f"is {known[0]}", known[1])
    if head.startswith(b"PK"):
        return _form_of_zip(path)
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40:
        return "safetensors"
    if head.startswith(b"\x80"):
        if LEGACY_TORCH in head[:32]:
            return "torch-legacy"
        raise _refusal(path, "is a pickle, which may run any program when it is opened", f"save it anew: {SAVE_AGAIN}")
    if head[257:262] == b"ustar":
        raise _refusal(path, "is a tar archive", "unpack it")
    raise _refusal(path, f"is {_kind_of_text(head)}", "fetch the weights again")


def _form_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise _refusal(path, f"is cut short or damaged ({error})", "fetch it again") from error
    if any(name.endswith("/constants.pkl") for name in names):
        return "torchscript"
    if any(name.endswith("/data.pkl") for name in names):
        return "torch"
    if any(name.endswith(".npy") for name in names):
        raise _refusal(path, "is an archive of NumPy arrays (npz)")
    raise _refusal(path, f"is a zip archive ({_few(names) or 'empty'})", "unpack it")


def _kind_of_text(head: bytes) -> str:
    try:
        text = head.decode("utf-8").lstrip("\ufeff \r\n\t").lower()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return "of no known form"
        text = head[: error.start].decode("utf-8").lstrip("\ufeff \r\n\t").lower()
    if text.startswith(("<!doctype html", "<html")):
        return "a web page, not the file that it offers"
    if text.startswith(("{", "[")):
        return "json text"
    return "text" if text.isprintable() or "\n" in text and "\0" not in text else "of no known form"


def _candidates(folder: Path) -> str:
    endings = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
    names = sorted(entry.name for entry in folder.iterdir() if entry.suffix in endings)
    return f" ({_few(names)})" if names else ""


def _open_safetensors(path: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safetensors.safe_open(path, "pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except safetensors.SafetensorError as error:
        raise _refusal(path, f"is cut short or damaged ({error})", "fetch it again") from error


def _load_tensors(path: Path, is_zip: bool) -> object:
    try:
        if path.suffix == ".safetensors":  # torch would go by the ending, which is wrong
            with path.open("rb") as file:
                return torch.load(file, map_location="cpu", weights_only=True)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except Exception as error:  # the restricted unpickler may raise any error for a damaged file
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        if found:
            raise _refusal(
                path,
                f"holds pickled Python objects ({found[1]}) beside tensors, and this program runs no code of a file",
                f"save the tensors alone, where the file was made: {SAVE_AGAIN}",
            ) from error
        raise _refusal(path, "is cut short or damaged", "fetch it again") from error


def _unwrap(path: Path, content: object) -> tuple[str, dict[str, Tensor]]:
    """The key under which the tensors lie ("" if there is none), and the tensors by name."""
    if not isinstance(content, Mapping):
        raise _refusal(path, f"holds a {type(content).__name__}, not tensors by name", f"save it anew: {SAVE_AGAIN}")
    if _tensors(content):
        return "", _tensors(content)
    inside = {str(key): _tensors(value) for key, value in content.items() if _tensors(value)}
    key = next((name for name in WRAPPERS if name in inside), next(iter(inside)) if len(inside) == 1 else None)
    if key is None:
        keys = _few(map(str, inside or content))
        cause = f"holds several sets of tensors ({keys})" if inside else f"holds no tensor (its keys: {keys or 'none'})"
        raise _refusal(path, cause, f"save the model's alone: {SAVE_AGAIN}")
    return key, inside[key]


def _tensors(value: object) -> dict[str, Tensor]:
    if not isinstance(value, Mapping):
        return {}
    return {str(name): tensor for name, tensor in value.items() if isinstance(tensor, Tensor)}


def _prefix(names: Mapping[str, object]) -> str:
    """The prefix of the names of a model that was saved as part of another one, such as `module.`."""
    ends = [name for name in names if name == ANCHOR or name.endswith(f".{ANCHOR}")]
    return ends[0].removesuffix(ANCHOR) if len(ends) == 1 else ""


def _without(prefix: str, values: Mapping) -> dict:
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def _few(names) -> str:
    names = list(names)
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
