"""Put the config of a run together, and report what is wrong with it.

Later values win, in this order: engine defaults, the plugin's keys (`plugin_defaults`), each trainer's `default_cfg`,
backbone yaml, data set yaml, trainer yaml, the OVERRIDES of these files, command line.
"""

from __future__ import annotations

import difflib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode as CN

from dassl.config import get_cfg_default
from simnl.declarations import declared
from simnl.escaping import shortened
from simnl.fewshot.capabilities import setting_of
from simnl.locations import default_cache
from simnl.runs.bases import base_file, base_of
from simnl.runs.names import KEY as DISPLAY_NAME
from simnl.runs.templates import apply_templates
from simnl.runs.values import coerce
from simnl.runs.yaml_files import read_yaml

# Keys that do not change a run's figures. They are not part of the hash.
NOT_HASHED = (
    "OUTPUT_DIR", "RESUME", "VERBOSE", "USE_CUDA", "SEED", "VERSION", "STORE", "DATASET.ROOT",
    "DATALOADER.NUM_WORKERS", "TEST.TARGETS", "TEST.LOGITS_MB", "TRAIN.PRINT_FREQ", "TRAIN.CHECKPOINT_FREQ", "OPTIONS",
    "SELECTION.HOLD_OUT", "SETTING",
)  # fmt: skip
# Keys that have a place of their own in a run record, so that they are not among its `options`.
TOLD_ELSEWHERE = (
    "TRAINER.NAME", "DATASET.NAME", "DATASET.CONFIG", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES",
    "DATASET.LABEL_NOISE", "DATASET.FOLDER", "DATASET.VAL_FRACTION", "DATASET.TEST_FRACTION", "PRESET", "PROTOCOL",
)  # fmt: skip


class ConfigError(ValueError):
    """A config has one or more problems; the message lists all of them."""


def plugin_defaults(cfg: CN) -> None:
    """Add the keys of this program to those of the engine. The values suit the Tip-Adapter family."""
    cfg.OPTIONS = []  # [KEY, value] of the command line; filled by `assemble`
    cfg.PRESET = "repaired"  # repaired | official: mistakes of the authors' code are mended, or kept
    cfg.MATMUL = "highest"  # highest | high | medium: precision of products in heads; only highest is exact fp32
    cfg.SETTING = ""  # few-shot | base2new | cross | dg: read by OVERRIDES; empty: what `setting_of` finds
    cfg.PROTOCOL = "fewshot-val"  # no-val | held-shot | fewshot-val | full-val | oracle-test: what may be selected on
    cfg.MODEL.BACKBONE.ARCH = "tiny-clip"  # open_clip architecture
    cfg.MODEL.BACKBONE.WEIGHTS = "bundled"  # open_clip weights tag, or a checkpoint's path
    cfg.MODEL.BACKBONE.PRECISION = "fp32"  # fp32 | bf16 | fp16: precision of the frozen towers
    cfg.MODEL.BACKBONE.DECODER = "pillow"  # pillow | simplejpeg: decoder of JPEG files
    cfg.MODEL.BACKBONE.STORED = "fp32"  # fp32 | fp16, an approximation: precision in which image features are stored
    cfg.MODEL.BACKBONE.TRANSFORM = CN()  # of images, for weights from a file; empty: what the architecture needs
    cfg.MODEL.BACKBONE.TRANSFORM.MEAN = []
    cfg.MODEL.BACKBONE.TRANSFORM.STD = []
    cfg.MODEL.BACKBONE.TRANSFORM.INTERPOLATION = ""  # bicubic | bilinear
    cfg.MODEL.BACKBONE.TRANSFORM.RESIZE = ""  # shortest | longest | squash
    cfg.DATASET.CONFIG = ""  # the config's name (CoOp's, e.g. oxford_pets), under which tables list the data set
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"  # all | base | new
    cfg.DATASET.SPLIT_FILE = ""  # path of a split json; empty: the data set's own
    cfg.DATASET.NEW_SPLIT = False  # make a new split if the standard one is missing
    cfg.DATASET.CLASSNAMES_FILE = ""  # text file of `class, name for prompts` lines; empty: the data set's own
    cfg.DATASET.FOLDER = ""  # ImageFolder: the folder, absolute or below ROOT or the current folder
    cfg.DATASET.VAL_FRACTION = 0.2  # ImageFolder: share of each class
    cfg.DATASET.TEST_FRACTION = 0.3
    cfg.DATASET.LABEL_NOISE = 0.0  # share of the few-shot training labels that are replaced
    cfg.DATASET.NOISE_RULE = "bernoulli"  # which labels become which: a rule of simnl/data/noise.py
    cfg.DATASET.NOISE_PAIRS = ""  # rule confusable: json of class -> other class; empty: that of the nearest text
    cfg.DATASET.NOISY_SELECTION = False  # also on the selection images: same rule and share, another draw
    cfg.DATASET.GROUP_BY = "label"  # label | true-class: how a cache groups images with noisy labels
    cfg.DATASET.TRAIN_DRAW = "same"  # same | separate: train on the cached images, or on a second draw
    cfg.TEST.LOGITS_MB = 256  # limit for the stored logits of one list of images; 0: no logits are stored
    cfg.TEST.TARGETS = []  # data sets on which the trained head is also tested, see simnl.runs.targets
    cfg.TEST.NEW_CLASSES = "refuse"  # refuse | text | neighbours: fallback of methods without new classes
    cfg.PROMPTS = CN()
    cfg.PROMPTS.POSITIVE = []
    cfg.PROMPTS.NEGATIVE = []
    cfg.PROMPTS.POSITIVE_FILE = ""  # text file with one template per line, in place of POSITIVE
    cfg.PROMPTS.NEGATIVE_FILE = ""
    cfg.PROMPTS.CUPL = ""  # file name or path
    cfg.PROMPTS.NEGATIVE_SENTENCES = ""  # replaces NEGATIVE: json of class -> sentences that deny it
    cfg.PROMPTS.CONTRASTIVE = ""  # replaces NEGATIVE: json of class -> other class -> sentences that tell them apart
    cfg.PROMPTS.CONTRASTIVE_CLASSES = 5  # number of nearest classes whose sentences are used
    cfg.VIEWS = CN()
    cfg.VIEWS.KIND = "random"  # random | centre | centre+flip: how training images are transformed
    cfg.VIEWS.CACHE = 10  # augmented views averaged into a cache key
    cfg.VIEWS.TRAIN = 10  # augmented views to train on, view = epoch mod this; 0: one per epoch
    cfg.VIEWS.ORDER = "cycle"  # cycle: an epoch has one view of all images | pool: as many rows, of any view
    cfg.VIEWS.SHARED = True  # train on the cache's views (encoded once) rather than on new ones
    cfg.STORE = CN()
    cfg.STORE.ROOT = default_cache()
    cfg.STORE.BATCH_SIZE = 0  # rows decoded and written at once, which changes no figure; 0: the program chooses
    cfg.STORE.PRODUCTS_MB = 512  # memory for products of stored views with frozen rows, used in all epochs
    cfg.SELECTION = CN()
    cfg.SELECTION.EPOCH = "best"  # best | last
    cfg.SELECTION.TIES = "first"  # first | last: which of several equally good epochs is taken
    cfg.SELECTION.HOLD_OUT = False  # set by the program: True in the first training of PROTOCOL held-shot
    cfg.SWEEP = []  # [KEY, [values]] pairs: every combination is trained, and the best one is kept
    cfg.SEARCH = CN()
    cfg.SEARCH.ENABLED = True
    cfg.SEARCH.MODE = "full"  # full | coarse-to-fine: an approximation that refines around the best of a few values
    cfg.SEARCH.TIES = "nearest"  # nearest | first: which of several equally good settings is taken
    cfg.OPTIM.EPS = 1e-8
    cfg.OPTIM.STEP = "epoch"  # epoch | batch: what the learning-rate schedule counts
    cfg.DATALOADER.TRAIN_X.DROP_LAST = False
    cfg.DATALOADER.NUM_WORKERS = min(8, os.cpu_count() or 1)


def base_config() -> CN:
    """The defaults of the engine, the keys of this program, and the node of every method."""
    cfg = get_cfg_default()
    plugin_defaults(cfg)
    for name, method in declared().items():
        cfg.TRAINER[name.upper()] = CN(method.defaults)
    return cfg


def assemble(
    files: Sequence[str | Path],
    options: Sequence[str] = (),
    settings: dict | None = None,
    where: str = "command line",
    complete: bool = False,
) -> CN:
    """Merge yaml files, their OVERRIDES, settings and KEY VALUE options into a frozen config.

    Args:
        files: yaml files in merge order.
        options: KEY, VALUE, KEY, VALUE, ... from the command line.
        settings: values by dotted key. They are applied before `options`.
        where: how messages name the place that options and settings come from.
        complete: True for the config that a run has left, which holds every value. No other file is then read for it:
            neither templates, which may have changed, nor the yaml of a base method whose node it has.

    Raises:
        ConfigError: there are unknown keys, wrong types or wrong forms. The message lists all problems, and the nearest
            valid key for each unknown one.
    """
    cfg = base_config()
    problems: list[str] = []
    typed = _pairs(options, problems)
    last = [*(settings or {}).items(), *typed]
    bodies = [(str(path), *_read(Path(path), problems)) for path in files]
    for path, body, _ in bodies:
        pairs = _flatten(body)
        twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
        problems += [f"{path}: {key} is given twice, in a block and with dots. Remove one of them." for key in twice]
        _merge(cfg, pairs, path, problems)
    _merge(cfg, last, where, problems)
    base = base_file(cfg)
    has_node = complete and any(_has_node(body, base_of(cfg)) for _, body, _ in bodies)
    if base and base not in map(str, files) and not has_node:
        return assemble([*files[:-1], base, *files[-1:]], options, settings, where, complete)
    cfg.SETTING = cfg.SETTING or setting_of(cfg.DATASET.SUBSAMPLE_CLASSES, cfg.TEST.TARGETS)
    for path, _, overrides in bodies:
        for number, override in enumerate(overrides, 1):
            where = f"{path}, OVERRIDES entry {number}"
            if _applies(cfg, override, where, problems):
                _merge(cfg, _flatten(override.get("SET", {})), where, problems)
    _merge(cfg, last, where, [])
    if not complete:
        apply_templates(cfg, {key for key, _ in last}, problems)
    if problems:
        raise ConfigError("\n".join(["The config has problems:", *(f"  {p}" for p in dict.fromkeys(problems))]))
    cfg.OPTIONS = [[key, _value(cfg, key)] for key in sorted({key for key, _ in typed}) if _is_option(key)]
    cfg.freeze()
    return cfg


def _has_node(body: dict, method: str) -> bool:
    """Whether the content of a yaml file has the node of a method, which may be empty."""
    methods = body.get("TRAINER")
    return isinstance(methods, dict) and method.upper() in methods


def _is_option(key: str) -> bool:
    """True for a key that changes figures and has no place of its own in the run record."""
    return key not in TOLD_ELSEWHERE and is_hashed(key)


def is_hashed(key: str) -> bool:
    """True for a dotted key that can change a run's figures."""
    return not any(key == skipped or key.startswith(f"{skipped}.") for skipped in NOT_HASHED)


def _value(cfg: CN, key: str) -> object:
    node, leaf = find_key(cfg, key)
    return node[leaf]


def _pairs(options: Sequence[str], problems: list[str]) -> list[tuple[str, str]]:
    if len(options) % 2:
        problems.append(f"command line: the key '{options[-1]}' has no value. Give pairs of KEY VALUE.")
    return list(zip(options[0::2], options[1::2], strict=False))


def _read(path: Path, problems: list[str]) -> tuple[dict, list[dict]]:
    """A yaml file's keys and its OVERRIDES."""
    try:
        body = read_yaml(path)
    except FileNotFoundError:
        there = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        problems.append(f"{path}: there is no such file. The folder has {there or 'no configs'}.")
        return {}, []
    except ValueError as error:
        problems.append(str(error))
        return {}, []
    if not isinstance(body, dict):
        problems.append(f"{path}: the file must hold lines of KEY: VALUE.")
        return {}, []
    if not isinstance(body.pop(DISPLAY_NAME, ""), str):  # tables and figures use it; it is not a config key
        problems.append(f"{path}: {DISPLAY_NAME} must be text.")
    overrides = body.pop("OVERRIDES", [])
    if not isinstance(overrides, list) or not all(map(_is_override, overrides)):
        problems.append(f"{path}: OVERRIDES must be a list of entries with WHEN and SET, which both hold KEY: VALUE.")
        return body, []
    return body, overrides


def _is_override(entry: object) -> bool:
    return isinstance(entry, dict) and set(entry) == {"WHEN", "SET"} and all(isinstance(entry[k], dict) for k in entry)


def _flatten(body: dict, prefix: str = "") -> list[tuple[str, object]]:
    """The (dotted key, value) pairs of nested dicts."""
    pairs: list[tuple[str, object]] = []
    for key, value in body.items():
        name = f"{prefix}{key}"
        pairs += _flatten(value, f"{name}.") if isinstance(value, dict) else [(name, value)]
    return pairs


def _applies(cfg: CN, override: dict, where: str, problems: list[str]) -> bool:
    """True when each key of WHEN has one of the values listed for it."""
    result = True
    for key, allowed in _flatten(override["WHEN"]):
        node, leaf = find_key(cfg, key)
        if node is None:
            problems.append(f"{where}: WHEN names the unknown key {key}.{_nearest(cfg, key)}")
            return False
        result &= node[leaf] in (allowed if isinstance(allowed, list) else [allowed])
    return result


def _merge(cfg: CN, pairs: Sequence[tuple[str, object]], where: str, problems: list[str]) -> None:
    for key, value in pairs:
        node, leaf = find_key(cfg, key)
        if node is None:
            problems.append(f"{where}: unknown key {shortened(key)}.{_nearest(cfg, key)}")
            continue
        try:
            node[leaf] = coerce(node[leaf], value)
        except ValueError as error:
            problems.append(f"{where}: {key}: {error}")


def find_key(cfg: CN, key: str) -> tuple[Any, str]:
    """The node and the leaf name of a dotted key; (None, leaf) for an unknown key."""
    *path, leaf = key.split(".")
    node = cfg
    for part in path:
        node = node.get(part) if isinstance(node, CN) else None
    return (node, leaf) if isinstance(node, CN) and leaf in node and not isinstance(node[leaf], CN) else (None, leaf)


def _nearest(cfg: CN, key: str) -> str:
    key = key[:100]
    known = [name for name, _ in _flatten(cfg)]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    same_leaf = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    hint = near or same_leaf[:1]
    return f" Did you mean {hint[0]}?" if hint else ""


def relevant(cfg: CN) -> dict[str, object]:
    """Dotted keys and values of a config, without the nodes of methods that the run does not use."""
    mine = tuple(f"TRAINER.{name.upper()}." for name in (cfg.TRAINER.NAME, base_of(cfg)) if name)
    pairs = _flatten(cfg)
    return {k: v for k, v in pairs if not k.startswith("TRAINER.") or k == "TRAINER.NAME" or k.startswith(mine)}
