"""Detection of unknown classes by the head of a finished run: scores of its test images and of outliers.

Everything is fitted and chosen before the first outlier is scored (`simnl.runs.open_set`). The results are written
beside the record: the figures to `detection.json`, and the scores to `outliers.safetensors`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from simnl.data.outliers import Outliers
from simnl.escaping import printable
from simnl.metrics import published
from simnl.metrics.classification import Floats, accuracy
from simnl.metrics.detection import auroc, ccr_at_fpr, measures, oscr
from simnl.metrics.names import DEFINITIONS
from simnl.metrics.scores import maxlogit
from simnl.runs.extra_scores import MARK, ExtraScores, prepare
from simnl.runs.open_set import Detectors, Scored, fit_detectors, score
from simnl.runs.outliers import build_outliers, items_of
from simnl.runs.record import FILE as RECORD
from simnl.runs.reload import reload_trainer
from simnl.sealed import DamagedError, read_sealed, read_tensors, write_sealed, write_tensors

log = logging.getLogger(__name__)

FILE, SCORES = "detection.json", "outliers.safetensors"
SCHEMA = 1
KNOWN = "known"
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # values of lambda in the ablation of the negative side
CCR = {"ccr_at_fpr1": 0.01, "ccr_at_fpr10": 0.1}  # at this share of unknown images (OpenOOD)
NOTHING: dict[str, dict] = {"figures": {}}  # of a set that was not scored
KEYS = ("config_hash", "seed", "accuracy")
ADVICE = "Run the method's ood.sh, which makes it."


def detect(
    record: Mapping[str, Any], names: Sequence[str], scores: Sequence[str] = (), wordnet: str = "", clipn: str = ""
) -> dict[str, Any]:
    """Score the test images of a run and sets of outliers, and write the figures beside the record.

    Figures of other sets and of other scores, which earlier calls left there, are kept (`_keep_earlier`).

    Args:
        record: the record of a finished run, with its `path`.
        names: the names of the sets of outliers (`simnl.runs.outliers.build_outliers`).
        scores, wordnet, clipn: the names of extra scores, the place of their words, and the file of CLIPN's second
            tower (`simnl.runs.extra_scores.prepare`).

    Returns:
        The content of detection.json, with what is kept: `identity`, `detectors` (what was fitted), `accuracy`, `extra`
        (the scores asked for, those left out with the reason, and the digests of the words and of CLIPN's tower), `own`
        (scores of the method or of the user), `sets` (by name: images, digest of the list, `figures` by score,
        `ablation` by lambda), `definitions`.

    Raises:
        FileNotFoundError, ValueError: see `reload_trainer`, `prepare` and `build_outliers`. ValueError also if scores
            are NaN.
    """
    folder = Path(record["path"]).parent
    trainer = reload_trainer(record)
    extra = prepare(trainer, scores, wordnet, clipn)
    detectors = fit_detectors(trainer, extra)
    test = trainer.dm.dataset.test
    known = _with_extra(score(trainer, trainer.head, trainer.test_loader, detectors), extra, test)
    right = known.logits.argmax(1) == known.labels
    tensors = _tensors(KNOWN, known.scores) | {f"{KNOWN}/right": torch.from_numpy(right)}
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "identity": {key: record[key] for key in KEYS},
        "detectors": asdict(detectors),
        "accuracy": 100 * accuracy(known.logits.argmax(1), known.labels),
        "images": len(known.labels),
        "inference": trainer.inference_of(trainer.node),
        "extra": extra.described(),
        "definitions": DEFINITIONS,
        "sets": {},
    }
    for outliers in build_outliers(trainer.cfg, names):
        items = items_of(outliers)
        stream = trainer.seen_by_head(trainer.inputs.stream(items))
        unknown = _with_extra(score(trainer, trainer.head, stream, detectors), extra, items)
        streamed = extra.at_test_time(test, items)
        content["own"] = [*known.own, *streamed]
        content["sets"][outliers.name] = about(outliers) | _of_set(known, unknown, streamed, detectors)
        tensors |= _tensors(outliers.name, unknown.scores)
    if known.sides is not None:
        content["accuracy_by_share"] = {
            f"{lam:g}": 100 * accuracy(known.sides.mixed(lam).logits.argmax(1), known.labels) for lam in SHARES
        }
    _keep_earlier(record, content, tensors)
    write_tensors(folder / SCORES, tensors, {"schema": SCHEMA, "chosen": detectors.chosen, **content["identity"]})
    write_sealed(folder / FILE, content)
    return content


def _keep_earlier(record: Mapping[str, Any], content: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
    """Add what earlier calls found and this one did not ask for, sets and scores of sets, to `content` and `tensors`.

    It is kept only if known images have the scores that they had then, so that one file never mixes two ways of
    scoring. Otherwise the log names the sets whose figures are dropped.
    """
    try:
        earlier, scores = read_detection(record), read_scores(record)[0]
    except (OSError, ValueError):
        return  # nothing was found earlier, or nothing that can be read
    now = content["sets"]
    same = {name: one for name, one in earlier["sets"].items() if one["digest"] == now.get(name, one)["digest"]}
    beyond = [name for name, one in same.items() if one["figures"].keys() - now.get(name, NOTHING)["figures"].keys()]
    if not beyond:
        return
    if not _is_scored_alike(earlier, scores[KNOWN], content, tensors):
        log.warning(
            "%s: earlier figures of %s are dropped, because known images have other scores now (another device, other "
            "words, or another version of this program). Name these sets in OUTLIERS to score them again.",
            Path(record["path"]).parent, ", ".join(map(printable, beyond)),
        )  # fmt: skip
        return
    merged = {name: one | now.get(name, {}) for name, one in same.items()}
    for name, one in same.items():
        merged[name]["figures"] = one["figures"] | merged[name]["figures"]
    content["sets"] = merged | {name: one for name, one in now.items() if name not in merged}
    content["own"] = list(dict.fromkeys([*earlier.get("own", ()), *content["own"]]))
    content["extra"] = _with_earlier_extra(earlier.get("extra", {}), content["extra"])
    content["detectors"]["thresholds"] = earlier["detectors"]["thresholds"] | content["detectors"]["thresholds"]
    for name in (KNOWN, *same):
        for key, tensor in _tensors(name, scores.get(name, {})).items():
            tensors.setdefault(key, tensor)


def _is_scored_alike(earlier: dict, known: Mapping[str, Any], content: dict, tensors: Mapping[str, Any]) -> bool:
    """Whether what is fitted, and the scores of known images, are equal in both calls, where both have them."""
    theirs, ours = ({**one["detectors"], **one["detectors"]["thresholds"]} for one in (earlier, content))
    del theirs["thresholds"], ours["thresholds"]
    digests = [(earlier.get("extra", {}).get(key), content["extra"][key]) for key in ("words", "clipn")]
    return (
        all(earlier[key] == content[key] for key in ("schema", "accuracy", "images"))
        and all(theirs[key] == ours[key] for key in theirs.keys() & ours.keys())
        and all(then == now for then, now in digests if then and now)
        and all(np.array_equal(known[key], tensors[f"{KNOWN}/{key}"]) for key in known if f"{KNOWN}/{key}" in tensors)
    )


def _with_earlier_extra(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    missing = {name: why for name, why in earlier.get("missing", {}).items() if name not in now["asked"]}
    return {
        "asked": sorted({*earlier.get("asked", ()), *now["asked"]}),
        "missing": missing | now["missing"],
        **{key: now[key] or earlier.get(key, "") for key in ("words", "clipn")},
    }


def about(outliers: Outliers) -> dict[str, Any]:
    """The facts of a set: the number of images, the digest of their contents, and the distance from known classes."""
    digest = hashlib.sha256(b"".join(outliers.contents)).hexdigest()
    return {"images": len(outliers.paths), "digest": digest, "distance": outliers.distance}


def _of_set(known: Scored, unknown: Scored, streamed: Mapping[str, tuple[Floats, Floats]], fitted: Detectors) -> dict:
    """The figures by score, for single images and for the stream, and the ablation."""
    right = known.logits.argmax(1) == known.labels
    pairs = {name: (known.scores[name], unknown.scores[name]) for name in known.scores} | dict(streamed)
    found = {name: figures(*pair, right, fitted.thresholds.get(name)) for name, pair in pairs.items()}
    return {"figures": found, "ablation": ablation(known, unknown)}


def figures(known: Floats, unknown: Floats, right: NDArray[np.bool_], threshold: float | None) -> dict[str, Any]:
    """Figures of one score on one set: by our definitions, FPR95 as others define it, and rates at the threshold.

    Args:
        known, unknown: scores, (n,) and (m,).
        right: whether each known image gets its class, (n,).
        threshold: the least score that counts as known; None without a threshold.
    """
    found: dict[str, Any] = measures(known, unknown)
    found["fpr95_id_nearest"] = published.fpr95_id_nearest(known, unknown)
    found["fpr95_ood_official"] = published.fpr95_ood_official(known, unknown)
    found["oscr"] = oscr(known, right, unknown)
    found |= {name: ccr_at_fpr(known, right, unknown, share) for name, share in CCR.items()}
    if threshold is not None:
        found["known_accepted"] = float((known >= threshold).mean())
        found["known_accepted_and_right"] = float(((known >= threshold) & right).mean())
        found["unknown_accepted"] = float((unknown >= threshold).mean())
    return found


def ablation(known: Scored, unknown: Scored) -> dict[str, float]:
    """AUROC of the largest logit at each share of the positive side; empty for methods without sides."""
    if known.sides is None or unknown.sides is None:
        return {}
    pairs = {lam: [maxlogit(s.mixed(lam).logits) for s in (known.sides, unknown.sides)] for lam in SHARES}
    return {f"{lam:g}": auroc(*pair) for lam, pair in pairs.items()}


def _with_extra(scored: Scored, extra: ExtraScores, items: Sequence[Any]) -> Scored:
    more = extra.of(items)
    return replace(scored, scores={**scored.scores, **more}, own=(*scored.own, *more))


def _tensors(name: str, scores: Mapping[str, Floats]) -> dict[str, torch.Tensor]:
    return {f"{name}/{key}": torch.from_numpy(np.ascontiguousarray(value)) for key, value in scores.items()}


def read_detection(record: Mapping[str, Any]) -> dict[str, Any]:
    """The detection figures of the run of a record.

    Raises:
        FileNotFoundError: the run has none. ValueError: the file is damaged, or is of another run than the record.
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
        raise DamagedError(path, f"belongs to another run than the {RECORD} beside it", ADVICE)


def has_detection(
    record: Mapping[str, Any], sets: Sequence[Outliers], scores: Sequence[str] = (), words: str = "", clipn: str = ""
) -> bool:
    """True if the run has figures of all these sets with the same images, and of all these scores.

    scores are extra scores. words and clipn are the digests of the words and of the second tower that they take now;
    empty where no score needs them, or they are absent.
    """
    try:
        content = read_detection(record)
    except (OSError, ValueError):
        return False
    extra, found = content.get("extra", {}), [content["sets"].get(one.name, NOTHING) for one in sets]
    if any(now and now != extra.get(key) for key, now in (("words", words), ("clipn", clipn))):
        return False
    made = {name for one in content["sets"].values() for name in scores_made(one)}
    cannot = extra.get("missing", {}).keys() - made  # no set has them
    has_scores = all(set(scores) <= scores_made(one) | cannot for one in found)
    return has_scores and all(one.get("digest") == about(of)["digest"] for one, of in zip(found, sets, strict=True))


def scores_made(of_set: Mapping[str, Any]) -> set[str]:
    """The names of the scores that a set in detection.json has, as a user asks for them."""
    return {name.removesuffix(MARK) for name in of_set["figures"]}
