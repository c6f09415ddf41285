"""Files that show damage: json that is read strictly, and check sums in json, in text and over tensors.

A check sum is the SHA-256 of the content of a file, and is stored in the file. It finds damage (a flipped bit, a part
of a different file), not intent. Earlier versions wrote files without check sums; each format says how it tells them
apart.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simnl.files import replacing, write_text_atomically

if TYPE_CHECKING:
    from torch import Tensor

KEY = "sha256"  # the key of the check sum, in json objects and in the metadata of tensors
ABOUT = "about"  # key of the json object in the metadata of tensors
TEXT_SEAL = re.compile(r"# sha256: ([0-9a-f]{64})\n?")
WRONG_SUM = "its check sum is wrong: it was damaged or edited"


class DamagedError(ValueError):
    """A file has the wrong content. The message names the file, the reason and what to do.

    Attributes:
        why: the reason without the file, e.g. `is not valid json (...)`.
    """

    def __init__(self, path: str | Path, why: str, advice: str = ""):
        super().__init__(f"{path} {why}. {advice}".rstrip())
        self.why = why


# ---------------------------------------------------------------------- json


def read_json(path: str | Path, advice: str = "", *, surrogates: bool = False) -> object:
    """The content of a json file.

    This is stricter than the standard library. It refuses NaN, infinity, numbers that are too large for a float,
    objects with the same key twice, and texts with half of a surrogate pair. A byte-order mark is skipped.

    Args:
        path: the file.
        advice: the last sentence of messages, which says what to do, e.g. `Fetch it again.`
        surrogates: True to accept halves of surrogate pairs, for a caller that says where in the file they are.

    Raises:
        FileNotFoundError: the file is missing; OSError: it cannot be read.
        DamagedError: it is no json file of this strict kind; the message names it.
    """
    return parse_json(_read_bytes(Path(path)), path, advice, surrogates=surrogates)


def parse_json(content: bytes, path: str | Path, advice: str = "", *, surrogates: bool = False) -> object:
    """The object of `read_json`, from bytes that were read from `path`."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        why = f"is not UTF-8 text (byte {error.start}), so it is not valid json"
        raise DamagedError(path, why, advice) from error
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_without_repeats)
        if "\\u" in text and not surrogates:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as error:
        raise DamagedError(path, "is not valid json: it is nested too deeply", advice) from error
    except UnicodeEncodeError as error:
        raise DamagedError(path, "is not valid json: a text in it holds half a character", advice) from error
    except ValueError as error:
        reason = str(error).partition("; use sys.")[0]  # without Python's advice on numbers of thousands of digits
        raise DamagedError(path, f"is not valid json ({reason})", advice) from error
    return value


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except IsADirectoryError as error:
        raise IsADirectoryError(f"{path} is a folder, but a file belongs there. Move the folder away.") from error


def _refuse(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {max(keys, key=keys.count)!r} occurs twice")
    return content


def checksum(content: Mapping[str, object]) -> str:
    """SHA-256 of a json object, which does not depend on the order of its keys or on white space.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def seal(content: Mapping[str, object]) -> dict[str, object]:
    """The object as it would be read from json, with its check sum as the last key.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    content = json.loads(json.dumps(content, allow_nan=False))
    return {**content, KEY: checksum(content)}


def unseal(content: object) -> dict[str, object]:
    """A sealed object without its check sum.

    Raises:
        ValueError: the content is no object, or its check sum is missing or wrong.
    """
    if not isinstance(content, dict):
        raise ValueError("it is not a json object")
    rest = {key: value for key, value in content.items() if key != KEY}
    if KEY not in content:
        raise ValueError("it has no check sum: it was damaged or edited")
    if content[KEY] != checksum(rest):
        raise ValueError(WRONG_SUM)
    return rest


def write_sealed(path: Path, content: Mapping[str, object]) -> None:
    """Write a json object with its check sum, whole or not at all."""
    write_text_atomically(path, json.dumps(seal(content), indent=2, sort_keys=True) + "\n")


def read_sealed(
    path: str | Path,
    advice: str = "",
    *,
    older: Callable[[object], bool] = lambda content: False,
    content: bytes | None = None,
):
    """Read an object that `write_sealed` wrote; returns it without its check sum.

    Args:
        path: the file.
        advice: the last sentence of the message, which says what to do about a damaged file.
        older: a function that is true for content without a check sum, as earlier versions of this program wrote it.
            Such content is returned unchanged. No single flipped bit may make the content of a sealed file look so.
        content: the bytes of the file if they are known; the file is then not opened.

    Raises:
        FileNotFoundError: the file is missing; OSError: it cannot be read; DamagedError: it is damaged.
    """
    value = read_json(path, advice) if content is None else parse_json(content, path, advice)
    if older(value):
        return value
    try:
        return unseal(value)
    except ValueError as error:
        raise DamagedError(path, f"is damaged ({error})", advice) from error


# ---------------------------------------------------------------------- text


def seal_text(text: str) -> str:
    """Add a last line `# sha256: ...` to a text; the check sum covers all lines before it."""
    text = text if text.endswith("\n") else text + "\n"
    return f"{text}# sha256: {hashlib.sha256(text.encode()).hexdigest()}\n"


def check_text(text: str, path: str | Path, advice: str = "") -> bool:
    """Check the last line that `seal_text` wrote. False if there is no such line, as in files of earlier versions.

    Raises:
        DamagedError: the check sum is wrong.
    """
    start = text.rstrip("\n").rfind("\n") + 1
    found = TEXT_SEAL.fullmatch(text[start:])
    if found is None:
        return False
    if found[1] != hashlib.sha256(text[:start].encode()).hexdigest():
        raise DamagedError(path, f"is damaged ({WRONG_SUM})", advice)
    return True


# ---------------------------------------------------------------------- tensors


def tensors_checksum(tensors: Mapping[str, Tensor], about: str) -> str:
    """SHA-256 of tensors on the CPU (their names, types, shapes and bits) and of the text `about`."""
    import torch

    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> None:
    """Write named tensors and a json object in one safetensors file, with a check sum over both, whole or not at all.

    Raises:
        ValueError: `about` holds NaN or infinite numbers.
        OSError: the file cannot be written, e.g. because the disk is full; the message names the file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    stored = _apart(stored)
    text = json.dumps(about, allow_nan=False)
    try:
        with replacing(path) as temporary:
            save_file(stored, temporary, metadata={ABOUT: text, KEY: tensors_checksum(stored, text)})
    except SafetensorError as error:  # safetensors hides errors of the system in its own
        raise OSError(f"{path} cannot be written ({error}). Make room there and run the same command again.") from error


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, copied where one shares memory with another one before it, which the format refuses."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        start = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if start in seen else tensor
        seen.add(start)
    return apart


def read_tensors(path: Path, advice: str = "") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file that `write_tensors` wrote. Returns the tensors by name, and the json object.

    Raises:
        FileNotFoundError: the file is missing; OSError: it cannot be read; DamagedError: it is damaged, or of another
            kind.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there. {advice}".rstrip())
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        about = parse_json(metadata[ABOUT].encode(), path)
        if not isinstance(about, dict) or metadata[KEY] != tensors_checksum(tensors, metadata[ABOUT]):
            raise ValueError(WRONG_SUM)
    except KeyError as error:
        raise DamagedError(path, f"was not written by this program: it has no {error}", advice) from error
    except (SafetensorError, ValueError, TypeError, RuntimeError) as error:  # the errors that a broken file can raise
        raise DamagedError(path, f"is damaged ({error})", advice) from error
    return tensors, about
