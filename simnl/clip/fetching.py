"""Fetch published weights to this machine, and say what to do where that is not possible."""

from __future__ import annotations

import urllib.error
import urllib.request

import huggingface_hub
import open_clip

HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")  # what open_clip asks the hub for
HUB_TIMEOUT = 5.0  # seconds


class WeightsUnavailable(RuntimeError):
    """The weights exist somewhere, but not on this machine, and fetching them failed."""


def fetch_weights(arch: str, tag: str) -> str:
    """Path of the weights file of a tag, downloaded on first use.

    Raises:
        WeightsUnavailable: not on this machine, and the download failed; at once where there is no network.
    """
    source = open_clip.get_pretrained_cfg(arch, tag)
    try:
        if source.get("hf_hub") and not _in_hub_cache(source["hf_hub"]):
            _check_hub()  # the hub's client would retry for most of a minute
        return open_clip.download_pretrained(source)
    except (RuntimeError, OSError) as error:
        raise WeightsUnavailable(
            f"Could not get the weights '{tag}' of {arch}: {str(error).splitlines()[0]}\nWith a network they are "
            "downloaded on first use. Without one, copy the checkpoint here and give its path (WEIGHTS=/path/to/file), "
            "or try the program with the bundled model (BACKBONE=tiny)."
        ) from error


def _in_hub_cache(location: str) -> bool:
    repository, file = location.rsplit("/", 1)
    names = [file] if file else list(HUB_FILES)
    return any(isinstance(huggingface_hub.try_to_load_from_cache(repository, name), str) for name in names)


def _check_hub() -> None:
    """Raise OSError if the model hub does not answer (proxies are respected; any answer will do)."""
    endpoint = huggingface_hub.constants.ENDPOINT
    try:
        urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=HUB_TIMEOUT).close()
    except urllib.error.HTTPError:
        return
    except OSError as error:
        raise OSError(f"{endpoint} does not answer ({error})") from error
