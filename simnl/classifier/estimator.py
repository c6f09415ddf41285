"""The classifier itself: scikit-learn's conventions around the trainer of a run."""

from __future__ import annotations

import numbers
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from yacs.config import CfgNode as CN

from simnl.classifier import inputs, training
from simnl.classifier.examples import Examples, checked_labels, dataset_of, divide, read_examples
from simnl.classifier.hub import Shareable
from simnl.classifier.isolation import undisturbed
from simnl.classifier.prediction import PREFIX, Fitted
from simnl.fewshot.head_file import LoadedHead
from simnl.fewshot.head_file import load as load_head_file
from simnl.fewshot.memory import Memory
from simnl.runs.backbones import TINY_BACKBONE

LOGIT_SCALE = 100.0  # the upper bound of the logit scale in CLIP's training, which published weights reach
LARGEST_SEED = 2**31 - 1
TINY_WARNING = (
    "No backbone is named, so this is the bundled tiny CLIP, which knows rendered figures only: on photographs its "
    "predictions mean nothing. Name one (backbone='vit_b16'), or say backbone='tiny' to have no warning."
)


class FewShotClassifier(Shareable, ClassifierMixin, BaseEstimator):
    """A frozen CLIP that is adapted to your classes with a few examples of each.

    It learns from pictures (a list of paths or PIL images), or from raw image features (N, D), which are a numpy array
    or a torch tensor. Given the same pictures, it gives the logits of a run of `tools/train.py`.

    Parameters
    ----------
    method : name of a method, as in configs/trainers (`SimNL`, `TipAdapterF`, `LinearProbe`, ...), in any spelling.
    backbone : the CLIP: a name of configs/backbones (`vit_b16`, `rn50`, ...) or an architecture of open_clip. None: the
        bundled tiny CLIP, which knows rendered figures only, so that pictures get a warning.
    weights : tag of open_clip, or the path of a checkpoint, in the place of the backbone's own.
    classnames : what the classes are called in prompts: {label: name}, or names in the order of `classes_`. None: the
        labels themselves, if they are words.
    templates, negative_templates : a sentence with {} in the place of the name, or a list of them. None: those of
        `constants_of`.
    cupl : sentences about each class: {name: [sentence, ...]}, or the path of such a json file. None: none.
    validation : the examples on which epoch and hyper-parameters are chosen. None: nothing is chosen. (X, y): these
        examples. A number between 0 and 1: this share of each class, from which the method does not learn. `held-shot`:
        a first training holds out the last example of each class and chooses hyper-parameters, and a second one learns
        from all examples.
    text_features : text features for X of raw features: an array (C, D) in the order of `classes_`, or (C, P, D) with P
        prompts per class; a dict of such under `template`, `negative` and `cupl`; or `class-means`: the mean features
        of each class take the place of its text. No CLIP is loaded then. None: `backbone` encodes the prompts, and X
        holds features of this backbone.
    logit_scale : the factor of cosines if no CLIP is loaded. None: 100, as in nearly all published CLIPs.
    random_state : an integer is the SEED of a run. A RandomState, or None for numpy's global one, draws such a seed.
    device : `auto`, `cpu` or `cuda`.
    options : other config keys and their values, e.g. {"OPTIM.MAX_EPOCH": 10}. Keys of the method's own node need only
        their last part, e.g. {"BETA": 2.0}.
    constants_of : the config in configs/datasets whose templates and constants are used.
    cache : the folder for features of pictures. None: the folder of all runs (~/.cache/simnl). False: features are not
        kept after the call.
    num_workers : the number of processes that decode pictures. No figure depends on it.
    verbose : True shows progress bars, and 2 also the lines of the engine's log.

    Attributes
    ----------
    classes_ : the labels, sorted, (C,).
    classnames_ : their names, in the same order.
    n_features_in_ : D.
    head_ : the trained head with its description.
    record_ : how it was trained, under the keys of run records: method, seed, shots, protocol (`no-val`, `full-val`
        for validation=(X, y), `fewshot-val` for a share, `held-shot`), num_train, num_val, hparams, num_settings,
        best_epoch, val_accuracy_per_epoch, swept, trainable_parameters, seconds.
    """

    def __init__(
        self, method="SimNL", *, backbone=None, weights=None, classnames=None, templates=None, negative_templates=None,
        cupl=None, validation=None, text_features=None, logit_scale=None, random_state=1, device="auto", options=None,
        constants_of="imagefolder", cache=None, num_workers=0, verbose=False,
    ):  # fmt: skip
        self.method = method
        self.backbone = backbone
        self.weights = weights
        self.classnames = classnames
        self.templates = templates
        self.negative_templates = negative_templates
        self.cupl = cupl
        self.validation = validation
        self.text_features = text_features
        self.logit_scale = logit_scale
        self.random_state = random_state
        self.device = device
        self.options = options
        self.constants_of = constants_of
        self.cache = cache
        self.num_workers = num_workers
        self.verbose = verbose

    # ------------------------------------------------------------------ scikit-learn's interface

    def fit(self, X, y):
        """Learn from pictures or features X and their labels y.

        Raises:
            ValueError, TypeError, FileNotFoundError: the message says what is wrong, where, and what is valid.
        """
        name, method = training.find_method(self.method)
        with tempfile.TemporaryDirectory(prefix=PREFIX) as place:
            folder = Path(place)
            examples, classes = read_examples(self, X, y, folder)
            self._check_kind(method, name, examples)
            names = inputs.class_names(self.classnames, classes)
            seed = self._seed()
            train, val, protocol = divide(examples, self.validation, classes, names, seed, folder)
            settings = {"SEED": seed, "PROTOCOL": protocol}
            cfg = self._config(name, train, names, settings, folder)
            training.check_inductive(method, cfg)
            reads_names = self.text_features is None and training.reads_names(method, cfg)
            if reads_names:
                inputs.require_words(self.classnames, classes, name)
            memory = self._memory(reads_names, train, val, names)
            trainer, choice = training.train(cfg, memory, int(self.verbose))
        self.classes_, self.classnames_, self.n_features_in_ = classes, names, trainer.clip.image_dim
        self._fitted = Fitted.of(trainer, classes.tolist())
        self.record_ = training.record(cfg, trainer, choice)
        return self

    def logits(self, X) -> np.ndarray:
        """Logits of pictures or features, (N, C) float32, in the order of `classes_`."""
        return np.concatenate([self._fitted.logits(rows) for rows in self._read(X)])

    def evidence(self, X) -> dict[str, np.ndarray]:
        """The terms of the method's formula, whose sum are the logits: name -> (N, C)."""
        parts = [self._fitted.evidence(rows) for rows in self._read(X)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def decision_function(self, X) -> np.ndarray:
        """The result of `logits`; for two classes the difference of the logits (N,), as scikit-learn has it."""
        logits = self.logits(X)
        return logits[:, 1] - logits[:, 0] if len(self.classes_) == 2 else logits

    def predict_proba(self, X) -> np.ndarray:
        """Softmax of the logits, (N, C) float64."""
        logits = torch.from_numpy(self.logits(X)).double()
        return (logits / self._fitted.about.temperature).softmax(1).numpy()

    def predict(self, X) -> np.ndarray:
        """The label with the highest logit, (N,)."""
        best = self.logits(X).argmax(1)  # first, because it refuses where nothing was fitted
        return self.classes_[best]

    def indices_of(self, y) -> np.ndarray:
        """Labels as positions in `classes_`, (N,).

        Raises:
            ValueError: a label is not one of them.
        """
        check_is_fitted(self)
        labels = checked_labels(y, len(y), "y")
        unknown = set(labels.tolist()) - set(self.classes_.tolist())
        if unknown:
            raise ValueError(f"y has the label {min(unknown, key=str)!r}, which is not a class of the classifier.")
        return np.searchsorted(self.classes_, labels)

    # ------------------------------------------------------------------ what explanations ask

    @property
    def head_(self) -> LoadedHead:
        """The trained head with its description, as `simnl.fewshot.head_file.load` gives it from a file of `save`."""
        check_is_fitted(self)
        return self._fitted.loaded

    def encode(self, X) -> torch.Tensor:
        """The inputs of the head for pictures or features: raw features (N, D), or pixels if it reads pixels."""
        return torch.cat(list(self._read(X)))

    # ------------------------------------------------------------------ files

    def save(self, path: str | Path) -> None:
        """Write what was learned to one file, which needs no training picture. `tools/predict.py` reads it as well.

        Raises:
            ValueError: labels that are neither words nor numbers; OSError: the file cannot be written.
        """
        check_is_fitted(self)
        self._fitted.save(Path(path))

    @classmethod
    def load(cls, path: str | Path, *, weights: str = "", device: str = "auto", **parameters) -> FewShotClassifier:
        """A classifier from a file of `save`, or of a run (`head.safetensors`, or the folder that holds it).

        Args:
            path: the file.
            weights: the place of its backbone's weights, if it is not the one that the file names.
            device: the parameter of the class.
            parameters: others of the class, such as cache, num_workers and verbose.

        Raises:
            FileNotFoundError: there is no such file. ValueError: the file is of another kind or release, or damaged.
        """
        place = "cuda" if training.uses_cuda(device) else "cpu"
        with undisturbed():
            loaded = load_head_file(path, weights=weights, device=place)
        about = loaded.about
        made = cls(about.method, backbone=about.backbone.name, random_state=about.seed, device=device, **parameters)
        made.classes_ = np.array(about.labels or about.classnames)
        made.classnames_, made.n_features_in_ = list(about.classnames), about.backbone.width
        made._fitted = Fitted(loaded, weights=weights)
        made.record_ = training.record_of_file(about)
        return made

    # ------------------------------------------------------------------ what X and the parameters mean

    def _read(self, X) -> Iterator[torch.Tensor]:
        """The inputs of the head, part by part."""
        check_is_fitted(self)
        if inputs.is_pictures(X):
            pictures = inputs.as_pictures(X)
            yield from self._fitted.of_pictures(pictures, self.cache, int(self.num_workers), bool(self.verbose))
        else:
            X = validate_data(self, inputs.as_array(X), reset=False, dtype=np.float32, copy=True)
            yield self._fitted.of_features(torch.from_numpy(X))

    def _check_kind(self, method: Any, name: str, examples: Examples) -> None:
        """Refuse examples that a method cannot learn from, and parameters that have no effect on them."""
        is_given = examples.features is not None and self.text_features is not None
        if examples.features is None:
            for parameter in ("text_features", "logit_scale"):
                if getattr(self, parameter) is not None:
                    raise ValueError(f"{parameter} goes with X of features, but X holds pictures. Leave it out.")
            if self.backbone is None:
                warnings.warn(TINY_WARNING, stacklevel=3)
        elif not method.image_encoder_frozen:
            raise ValueError(f"{name} changes the image tower: X must hold pictures, not their features.")
        elif method.before_projection:
            raise ValueError(f"{name} changes the image tower's projection: X must hold pictures, not their features.")
        elif method.with_patches:
            raise ValueError(f"{name} reads patches of images: X must hold pictures, not their features.")
        if is_given and not method.text_features_cached:
            raise ValueError(f"{name} learns prompts and needs a text tower. Give backbone instead of text_features.")
        scale = self.logit_scale
        if scale is not None and not (isinstance(scale, numbers.Real) and 0 < float(scale) < np.inf):
            raise ValueError(f"logit_scale is {scale!r}, but it must be a number above 0.")

    def _seed(self) -> int:
        if isinstance(self.random_state, numbers.Integral):
            if self.random_state < 0:
                raise ValueError(f"random_state is {self.random_state}, but it must be 0 or more.")
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(LARGEST_SEED))

    def _config(self, method: str, train: Examples, names: list[str], settings: dict[str, Any], folder: Path) -> CN:
        """The config of the run that does the same."""
        settings |= training.prompt_settings(self.templates, self.negative_templates, self.cupl, names, folder) | {
            "DATASET.NUM_SHOTS": train.shots(),
            "OUTPUT_DIR": str(folder / "run"),
            "STORE.ROOT": str(training.cache_root(self.cache, folder)),
            "USE_CUDA": training.uses_cuda(self.device),
            "DATALOADER.NUM_WORKERS": int(self.num_workers),
            "VERBOSE": bool(self.verbose),
            "TEST.NO_TEST": True,
            "TRAIN.CHECKPOINT_FREQ": 0,
        }
        if train.features is not None:
            settings["VIEWS.KIND"] = "centre"  # features have one view
        return training.make_config(
            method=method,
            backbone=self.backbone or TINY_BACKBONE,
            weights=self.weights,
            constants_of=self.constants_of,
            settings=settings,
            options=self.options,
        )

    def _memory(self, reads_names: bool, train: Examples, val: Examples | None, names: list[str]) -> Memory:
        """The sources that the trainer gets instead of files.

        `reads_names` is True if the method needs encoded prompts, and so a CLIP.
        """
        dataset, features = dataset_of(train, val, names)
        if features is None or train.features is None:
            return Memory(dataset)
        if reads_names:
            if self.logit_scale is not None:
                raise ValueError("logit_scale goes with text_features, because a backbone has its own. Leave it out.")
            return Memory(dataset, features)
        texts = {}
        if self.text_features is not None:
            labels = torch.from_numpy(train.labels)
            texts = inputs.text_sets(self.text_features, train.features, labels, len(names))
        return Memory(dataset, features, texts, LOGIT_SCALE if self.logit_scale is None else float(self.logit_scale))
