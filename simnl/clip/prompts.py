"""The prompt sets of a run: which sentences describe the classes, and where CuPL files are looked for."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import torch

from simnl.clip.model import FrozenCLIP
from simnl.clip.store import FeatureStore
from simnl.clip.text import PromptFeatures, PromptSet, named_in_pairs, read_cupl
from simnl.files import digests_of

log = logging.getLogger(__name__)

CUPL_FOLDERS = ("gpt3_prompts", "cupl")  # below the data root; the first is what Tip-Adapter's family calls it


def check_told_apart(clip: FrozenCLIP, templates: Sequence[str], classnames: Sequence[str], own_names: bool) -> None:
    """Check that no two classes have equal prompts, as the text tower reads them: it cuts long prompts, and many
    tokenizers know no capitals.

    Args:
        templates: one or more texts, with {} where the name goes; `{}` itself for a method that learns its prompts.
        own_names: whether a person chose the names. Those of the published data sets stay, and equal ones are told.

    Raises:
        ValueError: prompts of two classes are equal, and the names are a person's own.
    """
    groups = [list(range(len(classnames)))] if templates else []
    for template in templates:
        groups = [part for group in groups for part in _of_equal_tokens(clip, template, classnames, group)]
    if not groups:
        return
    pairs = named_in_pairs([[classnames[label] for label in group] for group in groups])
    message = f"To the text tower of {clip.arch} the prompts of these classes are equal: {pairs}."
    if own_names:
        raise ValueError(
            f"{message} Give each class a name of its own, in classnames.txt, DATASET.CLASSNAMES_FILE or classnames "
            f"(long prompts are cut after {clip.context_length} tokens; most models know no capitals)."
        )
    log.warning("%s Text says nothing about which is which.", message)


def check_class_prompts(
    cfg, dataset, clip: FrozenCLIP, classnames: Sequence[str], *, learned: bool, used: bool
) -> None:
    """Check the prompts that a run has of its classes, as `check_told_apart` does.

    Args:
        learned: the method learns its prompts, so that names alone tell classes apart.
        used: the method reads the templates of the config.
    """
    templates = ["{}"] if learned else cfg.PROMPTS.POSITIVE if used else []
    own_names = getattr(dataset, "own_names", False) or bool(cfg.DATASET.CLASSNAMES_FILE)
    check_told_apart(clip, templates, classnames, own_names)


def _of_equal_tokens(clip: FrozenCLIP, template: str, classnames: Sequence[str], labels: Sequence[int]):
    """The classes whose prompts are the same tokens, in groups of two and more."""
    prompts = PromptSet.from_templates([template], [classnames[label] for label in labels]).prompts
    found: dict[tuple[int, ...], list[int]] = {}
    composed = [unicodedata.normalize("NFC", prompt) for prompt in prompts]
    for label, tokens in zip(labels, clip.tokenize(composed).tolist(), strict=True):
        found.setdefault(tuple(tokens), []).append(label)
    return [group for group in found.values() if len(group) > 1]


def encode_prompt_sets(
    cfg, dataset, classnames: Sequence[str], store: FeatureStore, needed: Sequence[str], optional: Sequence[str]
) -> dict[str, PromptFeatures]:
    """Raw text features of the prompt sets that a method uses.

    Args:
        needed, optional: of `template`, `negative`, `cupl`. An optional set that is not at hand is left out, and the
            log says so.

    Raises:
        FileNotFoundError: a needed CuPL file is not there.
    """
    sets = {}
    for name in (*needed, *optional):
        prompts = _prompt_set(cfg, dataset, classnames, name, name in needed)
        if prompts is not None:
            sets[name] = PromptFeatures(store.texts(prompts.prompts), torch.tensor(prompts.classes))
    return sets


def _prompt_set(cfg, dataset, classnames: Sequence[str], name: str, needed: bool) -> PromptSet | None:
    if name == "template":
        return PromptSet.from_templates(cfg.PROMPTS.POSITIVE, classnames)
    if name == "negative":
        return PromptSet.from_templates(cfg.PROMPTS.NEGATIVE, classnames)
    if name != "cupl":
        raise ValueError(f"Unknown prompt set '{name}'. There are template, negative and cupl.")
    path, looked = find_cupl(cfg, dataset.prompt_folders(cfg))
    if path is not None:
        return read_cupl(path, classnames)
    if not cfg.PROMPTS.CUPL:
        message = f"No CuPL file is named for {cfg.DATASET.NAME} (PROMPTS.CUPL)"
    else:
        message = f"No CuPL file {cfg.PROMPTS.CUPL} in {', '.join(map(str, looked))}"
    if needed:
        raise FileNotFoundError(f"{message}, and this method needs one. Put it there, or set PROMPTS.CUPL to its path.")
    log.warning("%s: templates alone describe the classes.", message)
    return None


def identity(cfg, folders: Sequence[Path]) -> dict[str, str]:
    """SHA-256 (hex), by config key, of the files of prompts. Part of what names a run.

    folders: the folders in which the data set's CuPL file may lie.
    """
    files = {f"PROMPTS.{key}": cfg.PROMPTS[key] for key in ("POSITIVE_FILE", "NEGATIVE_FILE") if cfg.PROMPTS[key]}
    cupl = find_cupl(cfg, folders)[0]
    found = {key: Path(path).expanduser() for key, path in files.items()}
    return digests_of(found | ({"PROMPTS.CUPL": cupl} if cupl else {}))


def find_cupl(cfg, folders: Sequence[Path]) -> tuple[Path | None, list[Path]]:
    """The CuPL file and the folders looked in: the path itself, the data set's `folders`, and CUPL_FOLDERS of the
    root."""
    if not cfg.PROMPTS.CUPL:
        return None, []
    named = Path(cfg.PROMPTS.CUPL).expanduser()
    root = Path(cfg.DATASET.ROOT).expanduser()
    looked = [named.parent] if named.is_absolute() else [*folders, *(root / folder for folder in CUPL_FOLDERS)]
    found = [folder / named.name if named.is_absolute() else folder / named for folder in looked]
    return next((path for path in found if path.is_file()), None), looked
