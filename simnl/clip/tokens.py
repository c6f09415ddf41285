"""The tokenizer of an architecture: CLIP's own encoding, which comes with open_clip, or one from the hub."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import open_clip

from simnl.clip.architectures import hub_text_config, hub_tokenizer
from simnl.clip.bundled import BUNDLED
from simnl.clip.fetching import WeightsUnavailable, check_hub, is_at_hand

Tokenizer = Callable[..., Any]  # (prompts, context_length) -> token ids (B, L) int64


def check_tokenizer(arch: str) -> None:
    """Check that the files of the hub that an architecture needs for texts are available, before anything is loaded.

    Raises:
        ValueError: the package transformers is not installed.
        WeightsUnavailable: the tokenizer, or the config of the text tower, is not on this machine and cannot be
            downloaded.
    """
    if not hub_tokenizer(arch):
        return
    if importlib.util.find_spec("transformers") is None:
        raise ValueError(
            f"{arch} needs the package transformers for its texts. Install it: .venv/bin/pip install -r "
            "requirements-transformers.txt"
        )
    if config := hub_text_config(arch):
        try:
            is_at_hand(config, "config.json")
        except OSError as error:
            raise _unavailable(arch, "config of the text tower", config, error) from error
    tokenizer_of(arch)


@functools.lru_cache(maxsize=4)
def tokenizer_of(arch: str) -> Tokenizer:
    """The tokenizer. It cuts prompts at the context length with which it is called.

    Raises:
        WeightsUnavailable: the tokenizer comes from the hub, and is neither on this machine nor can be downloaded.
    """
    if arch in BUNDLED:
        return open_clip.get_tokenizer("ViT-B-32")  # the tiny CLIPs use CLIP's own byte-pair encoding
    name = hub_tokenizer(arch)
    if not name:
        return open_clip.get_tokenizer(arch)
    try:
        return _of_the_hub(arch, name)
    except (OSError, ValueError, ImportError) as error:
        raise _unavailable(arch, "tokenizer", name, error) from error


def _of_the_hub(arch: str, name: str) -> Tokenizer:
    """The tokenizer of a repository. The hub, whose client retries for long, is asked only if files are missing."""
    if is_at_hand(name, "tokenizer_config.json"):
        try:
            return open_clip.get_tokenizer(arch, local_files_only=True)
        except OSError:  # some files are missing, because a download was interrupted
            check_hub()
    return open_clip.get_tokenizer(arch)


def _unavailable(arch: str, what: str, name: str, error: Exception) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"Could not get the {what} of {arch}, {name}: {str(error).splitlines()[0]} With a network it is downloaded on "
        "first use."
    )
