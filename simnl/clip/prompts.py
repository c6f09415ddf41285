"""The prompt sets of a run: which sentences describe the classes, and where their CuPL files are."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import torch

from simnl import sharing
from simnl.clip.contrastive import contrastive_prompts, read_contrastive
from simnl.clip.model import FrozenCLIP
from simnl.clip.prompt_files import find_sentences
from simnl.clip.store import FeatureStore
from simnl.clip.text import PromptFeatures, PromptSet, class_weights, named_in_pairs, read_cupl

log = logging.getLogger(__name__)


def check_told_apart(clip: FrozenCLIP, templates: Sequence[str], classnames: Sequence[str], own_names: bool) -> None:
    """Check that the text tower does not read equal prompts for two classes. It cuts long prompts, and many tokenizers
    ignore capitals.

    Args:
        templates: one or more texts with {} in the place of the name; `{}` for a method that learns its prompts.
        own_names: True if the user chose the names. Equal names of published data sets only give a warning.

    Raises:
        ValueError: prompts of two classes are equal, and the user chose the names.
    """
    kept, key = sharing.current(), ("told apart", clip.arch, tuple(templates), tuple(classnames))
    if kept and kept.get(key):
        return
    groups = [list(range(len(classnames)))] if templates else []
    for template in templates:
        groups = [part for group in groups for part in _of_equal_tokens(clip, template, classnames, group)]
    if not groups:
        if kept:
            kept.put(key, True, 100 * len(classnames))
        return
    pairs = named_in_pairs([[classnames[label] for label in group] for group in groups])
    message = f"To the text tower of {clip.arch} the prompts of these classes are equal: {pairs}."
    if own_names:
        raise ValueError(
            f"{message} Give each class a name of its own, in classnames.txt, DATASET.CLASSNAMES_FILE or classnames "
            f"(long prompts are cut after {clip.context_length} tokens; most models know no capitals)."
        )
    log.warning("%s Text features cannot tell these classes apart.", message)


def check_class_prompts(
    cfg, dataset, clip: FrozenCLIP, classnames: Sequence[str], *, learned: bool, used: bool
) -> None:
    """Check the prompts of a run with `check_told_apart`.

    Args:
        learned: True if the method learns its prompts, so that only names tell classes apart.
        used: True if the method reads the templates of the config.
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
        needed, optional: names among `template`, `negative`, `cupl`. An optional set that is missing is left out, and
            the log says so.

    Raises:
        FileNotFoundError: a CuPL file is missing that the method needs.
    """
    sets = {}
    for name in (*needed, *optional):
        if name == "negative" and cfg.PROMPTS.CONTRASTIVE:
            prompts: PromptSet | None = _contrastive(cfg, dataset, classnames, store)
        else:
            prompts = _prompt_set(cfg, dataset, classnames, name, name in needed)
        if prompts is not None:
            sets[name] = PromptFeatures(store.texts(prompts.prompts), torch.tensor(prompts.classes))
    return sets


def _prompt_set(cfg, dataset, classnames: Sequence[str], name: str, needed: bool) -> PromptSet | None:
    if name == "template":
        return PromptSet.from_templates(cfg.PROMPTS.POSITIVE, classnames)
    if name == "negative":
        if cfg.PROMPTS.NEGATIVE_SENTENCES:
            return read_cupl(_named(cfg, dataset, "NEGATIVE_SENTENCES"), classnames, "NEGATIVE_SENTENCES")
        return PromptSet.from_templates(cfg.PROMPTS.NEGATIVE, classnames)
    if name != "cupl":
        raise ValueError(f"Unknown prompt set '{name}'. Choose from template, negative and cupl.")
    path, looked = find_sentences(cfg, "CUPL", dataset.prompt_folders(cfg))
    if path is not None:
        return read_cupl(path, classnames)
    if not cfg.PROMPTS.CUPL:
        message = f"PROMPTS.CUPL names no CuPL file for {cfg.DATASET.NAME}"
    else:
        message = f"There is no CuPL file {cfg.PROMPTS.CUPL} in {', '.join(map(str, looked))}"
    if needed:
        raise FileNotFoundError(f"{message}, and this method needs one. Put it there, or set PROMPTS.CUPL to its path.")
    log.warning("%s, so templates alone describe the classes.", message)
    return None


def _contrastive(cfg, dataset, classnames: Sequence[str], store: FeatureStore) -> PromptSet:
    """Sentences that tell the nearest classes, by the templates' text features, from each class."""
    if cfg.PROMPTS.NEGATIVE_SENTENCES:
        raise ValueError("PROMPTS.CONTRASTIVE and NEGATIVE_SENTENCES both give the negative text. Leave one out.")
    path = _named(cfg, dataset, "CONTRASTIVE")
    pairs, templates = read_contrastive(path), PromptSet.from_templates(cfg.PROMPTS.POSITIVE, classnames)
    rows, classes = store.texts(templates.prompts), torch.tensor(templates.classes)
    text = class_weights(rows, classes, len(classnames), "normalize-mean-normalize")
    return contrastive_prompts(pairs, classnames, text, cfg.PROMPTS.CONTRASTIVE_CLASSES, path)


def _named(cfg, dataset, key: str) -> Path:
    """The file that a key of PROMPTS names.

    Raises:
        FileNotFoundError: the file is in none of the folders that are searched.
    """
    path, looked = find_sentences(cfg, key, dataset.prompt_folders(cfg))
    if path is None:
        raise FileNotFoundError(f"PROMPTS.{key}: there is no file {cfg.PROMPTS[key]} in {', '.join(map(str, looked))}.")
    return path
