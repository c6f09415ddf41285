"""Read prompt templates from text files into the config."""

from __future__ import annotations

from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.data.datasets import DATASET_REGISTRY
from simnl.clip.prompt_files import read_templates


def apply_templates(cfg: CN, given: set[str], problems: list[str]) -> None:
    """Read templates from text files into PROMPTS.POSITIVE and PROMPTS.NEGATIVE.

    The files are PROMPTS.POSITIVE_FILE and NEGATIVE_FILE, or else the files beside the images of the data set
    (`FewShotDataset.template_files`). Templates on the command line come before those of the data set.

    Args:
        cfg: a config that is not frozen yet.
        given: the keys of the command line.
        problems: the list to which problems are added.
    """
    known = cfg.DATASET.NAME in DATASET_REGISTRY.registered_names()
    beside = DATASET_REGISTRY.get(cfg.DATASET.NAME).template_files(cfg) if known else {}
    for sign in ("POSITIVE", "NEGATIVE"):
        key, file_key = f"PROMPTS.{sign}", f"PROMPTS.{sign}_FILE"
        path = cfg.PROMPTS[f"{sign}_FILE"]
        if path and key in given:
            problems.append(f"command line: {key} and {file_key} both give templates. Leave one of them out.")
            continue
        if not path and key not in given:
            path = beside.get(sign)
        if path:
            try:
                cfg.PROMPTS[sign] = read_templates(Path(path).expanduser())
            except (OSError, ValueError) as error:
                problems.append(f"{file_key}: {error}")
