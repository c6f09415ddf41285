"""Detection of unknown classes by the head of a finished run: scores of its test images and of outliers.

Everything that is fitted or chosen is so before the first outlier is scored (`simnl.runs.open_set`). What comes out
lies beside the record: `detection.json` with the figures, `outliers.safetensors` with the scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from simnl.data.outliers import Outliers
from simnl.metrics import published
from simnl.metrics.classification import accuracy
from simnl.metrics.detection import auroc, measures, oscr
from simnl.metrics.names import DEFINITIONS
from simnl.metrics.scores import maxlogit
from simnl.runs.open_set import Detectors, Scored, fit_detectors, score
from simnl.runs.outliers import build_outliers, items_of
from simnl.runs.record import FILE as RECORD
from simnl.runs.reload import reload_trainer
from simnl.sealed import DamagedError, read_sealed, read_tensors, write_sealed, write_tensors

FILE, SCORES = "detection.json", "outliers.safetensors"
SCHEMA = 1
KNOWN = "known"
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # lambda, of the ablation of the negative side
KEYS = ("config_hash", "seed", "accuracy")
ADVICE = "Run the method's ood.sh again."


def detect(record: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Score the test images of a run and sets of outliers, and write the figures beside the record.

    Args:
        record: the record of a finished run, with its `path`.
        names: the names of the sets of outliers (`simnl.runs.outliers.build_outliers`).

    Returns:
        The content of detection.json: `identity`, `detectors` (what was fitted), `accuracy`, `sets` (by name: images,
        digest of the list, `figures` by score, `ablation` by lambda), `definitions`.

    Raises:
        FileNotFoundError, ValueError: see `reload_trainer` and `build_outliers`; or scores are NaN.
    """
    folder = Path(record["path"]).parent
    trainer = reload_trainer(record)
    detectors = fit_detectors(trainer)
    known = score(trainer, trainer.head, trainer.test_loader, detectors)
    tensors = _tensors(KNOWN, known) | {"right": torch.from_numpy(known.logits.argmax(1) == known.labels)}
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "identity": {key: record[key] for key in KEYS},
        "detectors": asdict(detectors),
        "accuracy": 100 * accuracy(known.logits.argmax(1), known.labels),
        "images": len(known.labels),
        "definitions": DEFINITIONS,
        "sets": {},
    }
    for outliers in build_outliers(trainer.cfg, names):
        stream = trainer.seen_by_head(trainer.inputs.stream(items_of(outliers)))
        unknown = score(trainer, trainer.head, stream, detectors)
        content["sets"][outliers.name] = {
            **about(outliers),
            "figures": {name: figures(known, unknown, name, detectors) for name in known.scores},
            "ablation": ablation(known, unknown),
        }
        tensors |= _tensors(outliers.name, unknown)
    if known.sides is not None:
        content["accuracy_by_share"] = {
            f"{lam:g}": 100 * accuracy(known.sides.mixed(lam).logits.argmax(1), known.labels) for lam in SHARES
        }
    write_tensors(folder / SCORES, tensors, {"schema": SCHEMA, "chosen": detectors.chosen, **content["identity"]})
    write_sealed(folder / FILE, content)
    return content


def about(outliers: Outliers) -> dict[str, Any]:
    """How many images a set has, which they are, and how far they are from the known classes."""
    digest = hashlib.sha256(json.dumps([Path(path).parts[-2:] for path in outliers.paths]).encode()).hexdigest()
    return {"images": len(outliers.paths), "digest": digest, "distance": outliers.distance}


def figures(known: Scored, unknown: Scored, name: str, detectors: Detectors) -> dict[str, Any]:
    """Figures of one score on one set: our definitions, others' FPR95, OSCR, and what happens at the threshold."""
    a, b = known.scores[name], unknown.scores[name]
    right = known.logits.argmax(1) == known.labels
    found: dict[str, Any] = measures(a, b)
    found["fpr95_id_nearest"] = published.fpr95_id_nearest(a, b)
    found["fpr95_ood_official"] = published.fpr95_ood_official(a, b)
    found["oscr"] = oscr(a, right, b)
    if name in detectors.thresholds:
        threshold = detectors.thresholds[name]
        found["known_accepted"] = float((a >= threshold).mean())
        found["known_accepted_and_right"] = float(((a >= threshold) & right).mean())
        found["unknown_accepted"] = float((b >= threshold).mean())
    return found


def ablation(known: Scored, unknown: Scored) -> dict[str, float]:
    """AUROC of the largest logit at each share of the positive side; empty for methods without sides."""
    if known.sides is None or unknown.sides is None:
        return {}
    pairs = {lam: [maxlogit(s.mixed(lam).logits) for s in (known.sides, unknown.sides)] for lam in SHARES}
    return {f"{lam:g}": auroc(*pair) for lam, pair in pairs.items()}


def _tensors(name: str, scored: Scored) -> dict[str, torch.Tensor]:
    return {f"{name}/{key}": torch.from_numpy(np.ascontiguousarray(value)) for key, value in scored.scores.items()}


def read_detection(record: Mapping[str, Any]) -> dict[str, Any]:
    """The detection figures of the run of a record.

    Raises:
        FileNotFoundError: it has none; ValueError: damaged, or of another run than the record beside it.
    """
    path = Path(record["path"]).parent / FILE
    content = read_sealed(path, ADVICE)
    _check_owner(path, content.get("identity"), record)
    return content


def read_scores(record: Mapping[str, Any]) -> tuple[dict[str, dict[str, np.ndarray]], str]:
    """Scores by set (`known` and the outliers' names) and score, (n,) each, and the name of the chosen score.

    Raises:
        FileNotFoundError, ValueError: see `read_detection`.
    """
    path = Path(record["path"]).parent / SCORES
    tensors, said = read_tensors(path, ADVICE)
    _check_owner(path, {key: said.get(key) for key in KEYS}, record)
    found: dict[str, dict[str, np.ndarray]] = {}
    for key, values in tensors.items():
        name, slash, kind = key.partition("/")
        if slash:
            found.setdefault(name, {})[kind] = values.numpy()
    return found, str(said["chosen"])


def _check_owner(path: Path, identity: object, record: Mapping[str, Any]) -> None:
    if identity != {key: record[key] for key in KEYS}:
        raise DamagedError(path, f"is of another run than the {RECORD} beside it", ADVICE)


def has_detection(record: Mapping[str, Any], sets: Sequence[Outliers]) -> bool:
    """True where the run has figures of all these sets, and the sets have the same images as then."""
    try:
        found = read_detection(record)["sets"]
    except (OSError, ValueError):
        return False
    return all(found.get(one.name, {}).get("digest") == about(one)["digest"] for one in sets)
