"""Fetch published weights to this machine, and say what to do if that is not possible."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
from huggingface_hub.errors import EntryNotFoundError

HUB = "hf-hub:"  # the prefix of the place of weights on the hub
HUB_CONFIG = "open_clip_config.json"
HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # open_clip's names on the hub
HUB_TIMEOUT = 5.0  # seconds


class WeightsUnavailable(RuntimeError):
    """The weights exist somewhere, but not on this machine, and fetching them failed."""


def fetch_weights(arch: str, tag: str) -> str:
    """The path of the weights file of a tag, which is downloaded on first use.

    Raises:
        WeightsUnavailable: the file is not on this machine, and the download failed. Without a network this comes at
            once.
    """
    source = open_clip.get_pretrained_cfg(arch, tag)
    try:
        if source.get("hf_hub") and not _in_hub_cache(source["hf_hub"]):
            check_hub()  # the hub's client would retry for most of a minute
        return open_clip.download_pretrained(source)
    except (RuntimeError, OSError) as error:
        raise _unavailable(tag, arch, error) from error


def is_hub_file(weights: str) -> bool:
    """True if WEIGHTS names a repository of the hub, or a file in it: `hf-hub:OWNER/NAME`, `hf-hub:OWNER/NAME/FILE`.

    Raises:
        ValueError: the text begins with `hf-hub:`, but has another form.
    """
    if not weights.startswith(HUB):
        return False
    parts = weights.removeprefix(HUB).split("/")
    if len(parts) < 2 or not all(parts):
        raise ValueError(
            f"WEIGHTS is '{weights}'. Weights of the hub are given as {HUB}OWNER/NAME or {HUB}OWNER/NAME/FILE."
        )
    return True


def fetch_file(arch: str, weights: str) -> tuple[str, dict[str, Any]]:
    """The weights in a repository of the hub (see `is_hub_file`), which are downloaded on first use.

    Returns:
        The path of the file, and open_clip's config in the repository, which is empty if there is none.

    Raises:
        WeightsUnavailable: see `fetch_weights`.
    """
    owner, name, *file = weights.removeprefix(HUB).split("/", 2)
    repository = f"{owner}/{name}"
    try:
        path = next(filter(None, (_fetched(repository, one) for one in file or HUB_FILES)), None)
        config = _fetched(repository, HUB_CONFIG)
        if path is None:
            raise OSError(f"{repository} has no file {' or '.join(file or HUB_FILES)}.")
        return path, json.loads(Path(config).read_text(encoding="utf-8")) if config else {}
    except (RuntimeError, ValueError, OSError) as error:
        raise _unavailable(weights, arch, error) from error


def _fetched(repository: str, file: str) -> str | None:
    """The path of a file of the hub; None if the repository has no such file."""
    if huggingface_hub.try_to_load_from_cache(repository, file) is huggingface_hub._CACHED_NO_EXIST:
        return None
    try:
        here = is_at_hand(repository, file)
        return huggingface_hub.hf_hub_download(repository, file, local_files_only=here)
    except EntryNotFoundError:
        return None


def is_at_hand(repository: str, file: str) -> bool:
    """Whether a file of the hub is on this machine. A folder may stand in the place of the repository.

    Raises:
        OSError: the file is not on this machine, and the hub does not answer.
    """
    if os.path.isdir(repository) or isinstance(huggingface_hub.try_to_load_from_cache(repository, file), str):
        return True
    check_hub()
    return False


def _unavailable(weights: str, arch: str, error: Exception) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"Could not get the weights '{weights}' of {arch}: {str(error).splitlines()[0]}\nWith a network they are "
        "downloaded on first use. Without one, copy the checkpoint here and give its path (WEIGHTS=/path/to/file), "
        "or try the program with the bundled model (BACKBONE=tiny)."
    )


def _in_hub_cache(location: str) -> bool:
    repository, file = location.rsplit("/", 1)
    names = [file] if file else list(HUB_FILES)
    return any(isinstance(huggingface_hub.try_to_load_from_cache(repository, name), str) for name in names)


def check_hub() -> None:
    """Raise ConnectionError if the model hub does not answer. Proxies are respected, and any answer suffices."""
    endpoint = huggingface_hub.constants.ENDPOINT
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=HUB_TIMEOUT).close()
    except urllib.error.HTTPError:
        return
    except OSError as error:
        raise ConnectionError(f"{endpoint} does not answer ({error})") from error
