"""The way from a classifier's parameters to the config of a run, and from that to a trained head."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from yacs.config import CfgNode as CN

from dassl.engine import TRAINER_REGISTRY
from simnl.bars import bar
from simnl.classifier.isolation import quiet, undisturbed
from simnl.clip.text import readable
from simnl.config_names import check_name, config_file
from simnl.fewshot.capabilities import INFERENCE
from simnl.fewshot.description import HeadDescription
from simnl.fewshot.memory import Memory
from simnl.files import make_cache
from simnl.locations import default_cache
from simnl.plugins import load_plugins
from simnl.runs.backbones import backbone_settings, check_early
from simnl.runs.cli import top_level_keys
from simnl.runs.config import assemble
from simnl.runs.devices import pick_device
from simnl.runs.methods import method_of
from simnl.runs.run import chosen_by_trainings, seeded_trainer
from simnl.runs.sweep import combinations

# Config keys whose values come from parameters of the classifier.
PARAMETERS = {
    "TRAINER.NAME": "method", "SEED": "random_state", "USE_CUDA": "device", "VERBOSE": "verbose", "STORE.ROOT": "cache",
    "MODEL.BACKBONE.NAME": "backbone", "MODEL.BACKBONE.ARCH": "backbone", "MODEL.BACKBONE.WEIGHTS": "weights",
    "PROMPTS.POSITIVE": "templates", "PROMPTS.NEGATIVE": "negative_templates", "PROMPTS.CUPL": "cupl",
    "PROTOCOL": "validation", "DATALOADER.NUM_WORKERS": "num_workers", "DATASET.NAME": "constants_of",
    "DATASET.CONFIG": "constants_of",
}  # fmt: skip
MEANINGLESS = ("DATASET.", "TEST.", "OUTPUT_DIR", "RESUME")  # keys that only have an effect in runs
ONE_AT_A_TIME = threading.RLock()  # trainings of several threads would share the global generators and stdout
MEANT = ("DATASET.TRAIN_DRAW", "DATASET.GROUP_BY")  # except these, which say how a method treats its images


def find_method(word: str) -> tuple[str, type]:
    """The registered name of a method and its class.

    Raises:
        ValueError: there is no such method. The message has the nearest name.
    """
    if not isinstance(word, str):
        raise ValueError(f"method is {word!r}. Give the name of a method, such as 'SimNL'.")
    load_plugins()
    name = method_of(word)
    return name, TRAINER_REGISTRY.get(name)


def option_keys(options: Mapping[str, Any] | None, method: str) -> dict[str, Any]:
    """Options under their full config keys: those of the method's own node may be given by their last part.

    Raises:
        ValueError: a key belongs to a parameter, or has no effect here.
    """
    if options is not None and not isinstance(options, Mapping):
        raise ValueError(f"options must be a dict of config keys, such as {{'OPTIM.MAX_EPOCH': 10}}, not {options!r}.")
    full: dict[str, Any] = {}
    for key, value in (options or {}).items():
        if not isinstance(key, str):
            raise ValueError(f"options has the key {key!r}, but config keys are texts, such as 'OPTIM.MAX_EPOCH'.")
        name = key if "." in key or key in top_level_keys() else f"TRAINER.{method.upper()}.{key}"
        if name in PARAMETERS:
            raise ValueError(f"options has {key}. Use the parameter {PARAMETERS[name]} instead.")
        if name.startswith(MEANINGLESS) and name not in MEANT:
            raise ValueError(f"options has {key}, which is for runs and has no effect here. Leave it out.")
        full[name] = value
    return full


def make_config(
    *, method: str, backbone: str, weights: str | os.PathLike | None, constants_of: str, settings: dict[str, Any],
    options: Mapping[str, Any] | None,
) -> CN:  # fmt: skip
    """The frozen config of a run: yaml files in the order of `tools/train.py`, then settings, then options.

    Raises:
        ValueError: a backbone, data set or key is unknown, or a value is wrong. The message says what is valid.
    """
    weights = os.fspath(weights) if isinstance(weights, os.PathLike) else weights or ""
    for parameter, word in (("backbone", backbone), ("weights", weights), ("constants_of", constants_of)):
        if not isinstance(word, str):
            raise ValueError(f"{parameter} is {word!r}, but it must be a text.")
    files, more = backbone_settings(backbone, weights)
    check_name("datasets", constants_of)
    settings = {**more, **settings, "TRAINER.NAME": method} | option_keys(options, method)
    files = [*files, config_file("datasets", constants_of), config_file("trainers", method)]
    cfg = assemble(files, (), settings, where="options")
    check_early(cfg)
    return cfg


def prompt_settings(templates: Any, negative: Any, cupl: Any, names: Sequence[str], folder: Path) -> dict[str, Any]:
    """The config keys of the user's prompts. CuPL sentences in a dict are written to a file in `folder`.

    Raises:
        ValueError: only some classes have sentences, or prompts are not texts.
        FileNotFoundError: there is no such file.
    """
    settings: dict[str, Any] = {"PROMPTS.CUPL": ""}
    for key, given in (("PROMPTS.POSITIVE", templates), ("PROMPTS.NEGATIVE", negative)):
        if given is not None:
            settings[key] = _texts(PARAMETERS[key], given)
    if isinstance(cupl, Mapping):
        missing = [name for name in names if not (cupl.get(name) or cupl.get(readable(name)))]
        if missing:
            raise ValueError(f"cupl has no sentences for {len(missing)} of {len(names)} classes, e.g. {missing[0]!r}.")
        path = folder / "cupl.json"
        sentences = {name: _texts("cupl", cupl.get(name) or cupl[readable(name)]) for name in names}
        path.write_text(json.dumps(sentences))
        settings["PROMPTS.CUPL"] = str(path)
    elif cupl is not None:
        if not isinstance(cupl, str | os.PathLike):
            raise ValueError(f"cupl is {cupl!r}. Give sentences by class, {{name: [sentence, ...]}}, or a json file.")
        path = Path(os.path.abspath(Path(cupl).expanduser()))
        if not path.is_file():
            raise FileNotFoundError(f"cupl is {str(cupl)!r}, but there is no such file.")
        settings["PROMPTS.CUPL"] = str(path)
    return settings


def _texts(parameter: str, given: Any) -> list[str]:
    """One text, or a list of texts, as a list.

    Raises:
        ValueError: it holds something else, or nothing.
    """
    texts = [given] if isinstance(given, str) else list(given) if isinstance(given, Iterable) else []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{parameter} has {given!r} in the place of a text, or of a list of one text or more.")
    return texts


def cache_root(cache: Any, folder: Path) -> Path:
    """The folder of features: that of runs (None), another one, or one for this call alone (False).

    Raises:
        ValueError: `cache` is something else than these.
    """
    if cache is False:
        return folder / "cache"
    if cache is not None and not isinstance(cache, str | os.PathLike):
        raise ValueError(f"cache is {cache!r}. Give a folder, False for none, or None for that of all runs.")
    return Path(default_cache() if cache is None else cache).expanduser()


def check_inductive(method: Any, cfg: CN) -> None:
    """Check that a method (a `VLTrainer` class) predicts each example by itself, as `predict` does.

    Raises:
        ValueError: it does not. The message says how it predicts.
    """
    seen = method.inference_of(method.node_of(cfg))
    if seen != "inductive":
        raise ValueError(
            f"{cfg.TRAINER.NAME} {INFERENCE[seen]}, but a classifier predicts each example by itself. "
            "Use tools/train.py."
        )


def reads_names(method: Any, cfg: CN) -> bool:
    """Whether a method (a `VLTrainer` class) needs encoded prompts with the names of classes."""
    return bool(method.prompt_sets_of(method.node_of(cfg))) or not method.text_features_cached


def uses_cuda(device: str) -> bool:
    """Whether to use a GPU. `auto` takes one if there is one.

    Raises:
        ValueError: the word is unknown. RuntimeError: there is no GPU.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device is {device!r}. Choose auto, cpu or cuda (CUDA_VISIBLE_DEVICES says which GPU).")
    return pick_device(device)


def train(cfg: CN, memory: Memory, verbose: int) -> tuple[Any, dict[str, Any]]:
    """Sweep and train as a run does, in the temporary folder OUTPUT_DIR. Other threads of the program wait meanwhile.

    Returns:
        The trainer with the deployed head, and the entries of the record about the choice of settings.

    Raises:
        FloatingPointError: training diverged.
    """

    def build(one: CN) -> Any:
        return TRAINER_REGISTRY.get(one.TRAINER.NAME)(one, memory)

    epochs = cfg.OPTIM.MAX_EPOCH * (len(combinations(cfg)) + 1)
    shown = bool(verbose) and epochs > 0
    with (
        ONE_AT_A_TIME,
        undisturbed(),
        quiet(verbose < 2),
        bar("Training", epochs, "epoch", shown=shown, delay=0.5) as progress,
    ):
        memory.bar = progress
        make_cache(cfg.STORE.ROOT)
        try:
            chosen, hparams, choice = chosen_by_trainings(cfg, {}, build)
            trainer = seeded_trainer(chosen, build=build)
            trainer.settled = hparams
            trainer.train()
        except FloatingPointError as error:
            raise FloatingPointError(
                f"{cfg.TRAINER.NAME} diverged ({error}): lower its step size, options={{'OPTIM.LR': ...}}, now "
                f"{cfg.OPTIM.LR}."
            ) from error
        finally:
            memory.bar = None
    return trainer, choice | {"num_settings": max(choice["num_settings"], trainer.num_settings)}


def record(cfg: CN, trainer: Any, choice: dict[str, Any]) -> dict[str, Any]:
    """The facts of the training of a head, under the keys of run records."""
    selection = trainer.selection if trainer.trains else None
    return {
        "method": cfg.TRAINER.NAME,
        "backbone": trainer.clip.arch,
        "seed": cfg.SEED,
        "shots": cfg.DATASET.NUM_SHOTS,
        "protocol": cfg.PROTOCOL,
        "preset": cfg.PRESET,
        "prompts": sorted(trainer.task.prompts),
        "num_train": len(trainer.support.labels) if trainer.support else 0,
        "num_val": trainer.num_val,
        "hparams": dict(getattr(trainer.head, "hparams", {})),
        "val_accuracy_per_epoch": list(selection.scores) if selection else [],
        "best_epoch": selection.best_epoch + 1 if selection and selection.scores else None,
        "trainable_parameters": trainer.num_parameters,
        "seconds": dict(trainer.stopwatch.seconds),
        **choice,
    }


def record_of_file(about: HeadDescription) -> dict[str, Any]:
    """The facts of the training in a head file, under the same keys."""
    return {
        "method": about.method,
        "backbone": about.backbone.arch,
        "seed": about.seed,
        "shots": about.num_shots,
        "protocol": about.protocol,
        "preset": about.preset,
        "hparams": dict(about.hparams),
    }
