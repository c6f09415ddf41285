"""Files, images, seeds and a description of the environment. What needs PyTorch imports it when it is called."""

from __future__ import annotations

import importlib.metadata
import json
import os
import os.path as osp
import platform
import random
import shutil
import sys
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any

from dassl._lazy import lazy

from .registry import check_availability, get_most_similar_str_to_a_from_b

if TYPE_CHECKING:
    from PIL import Image

# Upstream's module has no `__all__`, and plugins import from it what it imports itself.
LAZY = {"Image": "PIL.Image", "np": "numpy", "torch": "torch"}
__all__ = [
    "atomic_write",
    "check_availability",
    "check_isfile",
    "collect_env_info",
    "download_url",
    "get_most_similar_str_to_a_from_b",
    "listdir_nohidden",
    "mkdir_if_missing",
    "read_image",
    "read_json",
    "set_random_seed",
    "tolist_if_not",
    "warn_in_log",
    "write_json",
]

__getattr__ = lazy(__name__, LAZY)


def mkdir_if_missing(dirname: str) -> None:
    """Make a folder and its parents; fine if it exists."""
    os.makedirs(dirname, exist_ok=True)


def check_isfile(fpath: str) -> bool:
    """True if the file exists; warns otherwise."""
    exists = osp.isfile(fpath)
    if not exists:
        warnings.warn(f'No file found at "{fpath}"', stacklevel=2)
    return exists


@contextmanager
def atomic_write(fpath: str, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file whose content appears under its name only when complete.

    Content goes to a temporary file in the same folder, which replaces `fpath` at the end of the block.
    Readers, and a process killed at any moment, leave the old file or the new one, never a part. If the
    block raises, the old file stays. Errors of the system, such as a full disk, name `fpath`.
    """
    fpath = os.fspath(fpath)
    folder = osp.dirname(osp.abspath(fpath))
    os.makedirs(folder, exist_ok=True)
    partial = osp.join(folder, f".{osp.basename(fpath)}.{os.getpid()}.tmp")
    try:
        with open(partial, mode, encoding=None if "b" in mode else "utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, fpath)
    except BaseException as error:
        if osp.exists(partial):
            os.remove(partial)
        if isinstance(error, OSError) and error.errno is not None and error.filename in (None, partial):
            raise OSError(error.errno, error.strerror, fpath) from error
        raise


def read_json(fpath: str) -> Any:
    """Read a json file.

    Raises:
        FileNotFoundError: there is none; ValueError: it is not json, or it is nested too deeply.
    """
    with open(fpath, encoding="utf-8") as file:
        try:
            return json.load(file)
        except RecursionError as error:
            raise ValueError(f"{fpath} is not valid json: it is nested too deeply") from error
        except ValueError as error:  # not json, not UTF-8, a number of too many digits
            raise ValueError(f"{fpath} is not valid json: {error}") from error


def write_json(obj: Any, fpath: str) -> None:
    """Write a json file (indent 4, atomically), making its folder."""
    text = json.dumps(obj, indent=4, separators=(",", ": "))
    with atomic_write(fpath, "w") as file:
        file.write(text)


def set_random_seed(seed: int) -> None:
    """Seed Python, numpy and torch (CPU and every GPU); any seed >= 0, zero included."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


def download_url(url: str, dst: str, timeout: float = 60.0) -> None:
    """Download to a file, atomically, with a progress bar.

    Args:
        url: http(s), ftp or file address.
        dst: path of the file.
        timeout: seconds without data after which to give up.

    Raises:
        OSError: the server or the connection failed, or fewer bytes came than were announced; `dst` is
            untouched.
    """
    from tqdm import tqdm

    print(f'* url: "{url}"\n* destination: "{dst}"')
    with urllib.request.urlopen(url, timeout=timeout) as response, atomic_write(dst) as file:
        size = int(response.headers.get("Content-Length") or 0)
        bar = {"desc": osp.basename(dst), "leave": False, "disable": None}  # None: off where there is no terminal
        with tqdm.wrapattr(file, "write", total=size or None, **bar) as target:
            shutil.copyfileobj(response, target)
        if size and file.tell() != size:
            raise OSError(f"{url}: got {file.tell():,} of {size:,} bytes. Try again.")


def read_image(path: str) -> Image.Image:
    """Read an image file as RGB.

    Raises:
        FileNotFoundError: no such file; PIL.UnidentifiedImageError: not an image; ValueError: more than 8 bits per
            channel, which the conversion would cut off (upstream returns a white or black image).
    """
    from PIL import Image

    if not osp.exists(path):
        raise FileNotFoundError(f'No file exists at "{path}"')
    with Image.open(path) as image:
        if image.mode in ("I", "F") or image.mode.startswith("I;"):
            raise ValueError(f"{path} has more than 8 bits per channel (mode {image.mode}): save it with 8 bits.")
        return image.convert("RGB")


def collect_env_info() -> str:
    """Versions of Python, torch and friends, and the GPUs, as text. Starts no program, draws no number."""
    import torch

    lines = [
        f"Python version: {sys.version.split()[0]} ({platform.platform()})",
        f"PyTorch version: {torch.__version__}",
        f"CUDA used to build PyTorch: {torch.version.cuda}",
        f"Is CUDA available: {torch.cuda.is_available()}",
    ]
    if torch.cuda.is_available():
        lines += [f"GPU {i}: {torch.cuda.get_device_name(i)}" for i in range(torch.cuda.device_count())]
        lines.append(f"cuDNN version: {torch.backends.cudnn.version()}")
    for package in ("torchvision", "numpy", "pillow", "yacs"):
        lines.append(f"{package}: {importlib.metadata.version(package)}")
    return "\n".join(lines)


def listdir_nohidden(path: str, sort: bool = False) -> list[str]:
    """Names in a folder that do not start with a dot; in the file system's order unless `sort`."""
    items = [name for name in os.listdir(path) if not name.startswith(".")]
    return sorted(items) if sort else items


def warn_in_log(text: str) -> None:
    """Warn, and print the text too: warnings go to stderr, which log.txt does not get, and may be filtered."""
    warnings.warn(text, stacklevel=3)
    print(f"Warning: {text}")


def tolist_if_not(x: Any) -> list:
    """`x` if it is a list, else `[x]`."""
    return x if isinstance(x, list) else [x]
