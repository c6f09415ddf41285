"""Logging, meters, registries, files, checkpoints. What needs PyTorch is imported when it is first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dassl._lazy import lazy

from .logger import Logger, setup_logger
from .registry import Registry
from .tools import (
    check_availability,
    check_isfile,
    collect_env_info,
    download_url,
    get_most_similar_str_to_a_from_b,
    listdir_nohidden,
    mkdir_if_missing,
    read_image,
    read_json,
    set_random_seed,
    tolist_if_not,
    write_json,
)

if TYPE_CHECKING:
    from .meters import AverageMeter, MetricMeter
    from .torchtools import (
        count_num_param,
        init_network_weights,
        load_checkpoint,
        load_pretrained_weights,
        open_all_layers,
        open_specified_layers,
        resume_from_checkpoint,
        save_checkpoint,
    )

__all__ = [
    "AverageMeter",
    "Logger",
    "MetricMeter",
    "Registry",
    "check_availability",
    "check_isfile",
    "collect_env_info",
    "count_num_param",
    "download_url",
    "get_most_similar_str_to_a_from_b",
    "init_network_weights",
    "listdir_nohidden",
    "load_checkpoint",
    "load_pretrained_weights",
    "mkdir_if_missing",
    "open_all_layers",
    "open_specified_layers",
    "read_image",
    "read_json",
    "resume_from_checkpoint",
    "save_checkpoint",
    "set_random_seed",
    "setup_logger",
    "tolist_if_not",
    "write_json",
]

LAZY = {
    "meters": ("AverageMeter", "MetricMeter"),
    "torchtools": (
        "count_num_param",
        "init_network_weights",
        "load_checkpoint",
        "load_pretrained_weights",
        "open_all_layers",
        "open_specified_layers",
        "resume_from_checkpoint",
        "save_checkpoint",
    ),
}

__getattr__ = lazy(__name__, {name: f"dassl.utils.{part}:{name}" for part, names in LAZY.items() for name in names})
