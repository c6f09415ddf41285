"""Detection of unknown classes by a finished run: what it depends on, what it leaves, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.detection_runs import make_place, train
from helpers.e2e_tools import REPO
from helpers.images import make_images
from simnl.data.outliers import RENDERED
from simnl.metrics.detection import auroc
from simnl.results.tables import Request, build, find_records
from simnl.runs.detection import FILE, SCORES, detect, has_detection, read_detection, read_scores
from simnl.runs.open_set import fit_detectors
from simnl.runs.outliers import build_outliers
from simnl.runs.reload import reload_trainer
from simnl.runs.stored_config import read_config
from simnl.sealed import write_sealed


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return make_place(tmp_path_factory.mktemp("detection"))


@pytest.fixture(scope="module")
def runs(place) -> dict[str, dict]:
    return {method: train(place, method) for method in ("SimNL", "ZeroshotCLIP")}


@pytest.fixture
def strangers(place) -> str:
    return f"{place}/strangers"


def test_figures_of_new_classes_and_a_folder(runs, strangers):
    one = runs["SimNL"]
    found = detect(one, ["new", strangers])
    assert {name: (s["images"], s["distance"]) for name, s in found["sets"].items()} == {
        "new": (12, "near"), "strangers": (7, "far")
    }  # fmt: skip
    assert found["accuracy"] == pytest.approx(one["accuracy"])
    assert read_detection(one) == json.loads(json.dumps(found))
    scores, chosen = read_scores(one)
    assert set(scores) == {"known", "new", "strangers"}
    assert chosen == found["detectors"]["chosen"]
    for name, figures in found["sets"]["new"]["figures"].items():
        assert figures["auroc"] == pytest.approx(auroc(scores["known"][name], scores["new"][name]), abs=1e-12)
        threshold = found["detectors"]["thresholds"][name]
        assert figures["unknown_accepted"] == np.mean(scores["new"][name] >= threshold)
    assert {"agree", "yes_no", "evidence_gap", "no_prompt_best", "msp/T", "mcm@T1"} <= set(scores["known"])
    assert set(found["sets"]["new"]["ablation"]) == {"1", "0.9", "0.8", "0.7", "0.6", "0.5"}
    sets = build_outliers(read_config(Path(one["path"]).parent), ["new", strangers])
    assert has_detection(one, sets)
    assert not has_detection(runs["ZeroshotCLIP"], sets)


@pytest.mark.parametrize("method", ["SimNL", "RPL", "LSN", "NegPrompt"])
def test_outliers_change_no_threshold_weight_or_choice(runs, place, tmp_path, method):
    """Other outliers, and the same ones in another order: for every score, those of the method's own among them."""
    one = runs[method] if method in runs else train(place, method)
    folder = Path(one["path"]).parent
    first = detect(one, [f"{place}/strangers"])
    weights, (kept, _) = (folder / "head.safetensors").read_bytes(), read_scores(one)
    own = {"RPL": "distance", "LSN": "lsn", "NegPrompt": "posi_nega", "SimNL": "agree"}[method]
    assert own in first["detectors"]["thresholds"].keys() == kept["strangers"].keys()
    pictures = sorted((place / "strangers" / "yeti").iterdir(), reverse=True)
    (tmp_path / "strangers" / "yeti").mkdir(parents=True)
    for number, path in enumerate(pictures):
        shutil.copy(path, tmp_path / "strangers" / "yeti" / f"{number}{path.suffix}")
    permuted = detect(one, [f"{tmp_path}/strangers"])
    for name, figures in first["sets"]["strangers"]["figures"].items():
        assert permuted["sets"]["strangers"]["figures"][name] == pytest.approx(figures, abs=1e-9), name
    make_images(tmp_path / "others" / "kraken", 11, size=16, seed=101)
    second = detect(one, [f"{tmp_path}/others", "new"])
    for key in ("detectors", "accuracy", "accuracy_by_share"):
        assert first.get(key) == permuted.get(key) == second.get(key)
    for name, scores in read_scores(one)[0]["known"].items():
        np.testing.assert_array_equal(scores, kept["known"][name])
    assert (folder / "head.safetensors").read_bytes() == weights
    shutil.rmtree(tmp_path / "others")
    with pytest.raises(FileNotFoundError):
        detect(one, [f"{tmp_path}/others"])
    assert read_detection(one)["sets"].keys() == second["sets"].keys()  # nothing half-written


@pytest.fixture
def alone(runs, tmp_path) -> dict:
    """A copy of a run, without figures of detection."""
    shutil.copytree(Path(runs["SimNL"]["path"]).parent, tmp_path / "run", ignore=shutil.ignore_patterns(FILE, SCORES))
    return find_records([tmp_path / "run"])[0]


def test_what_earlier_commands_found_is_kept(alone, strangers, tmp_path):
    first = detect(alone, ["new", strangers])
    scores = read_scores(alone)[0]
    assert detect(alone, ["new"]) == first  # all of it
    make_images(tmp_path / "others" / "kraken", 11, size=16, seed=101)
    second = detect(alone, [f"{tmp_path}/others"])
    assert list(second["sets"]) == ["new", "strangers", "others"]
    assert read_detection(alone)["sets"] == json.loads(json.dumps(second["sets"]))
    assert second["sets"].items() >= first["sets"].items()
    kept = read_scores(alone)[0]
    assert all(np.array_equal(kept[name][key], scores[name][key]) for name in scores for key in scores[name])
    make_images(tmp_path / "others" / "kraken", 12, size=16, seed=102)
    third = detect(alone, [f"{tmp_path}/others"])["sets"]["others"]
    assert (third["images"], len(read_scores(alone)[0]["others"]["energy"])) == (12, 12)  # nothing of other images


def test_another_folder_with_the_same_names_is_another_set(alone, strangers, tmp_path):
    detect(alone, [strangers])
    cfg, other = read_config(Path(alone["path"]).parent), tmp_path / "strangers"
    shutil.copytree(strangers, other)
    assert has_detection(alone, build_outliers(cfg, [str(other)]))
    make_images(other / "yeti", 7, size=16, seed=200)
    assert not has_detection(alone, build_outliers(cfg, [str(other)]))


def test_figures_of_another_way_of_scoring_are_dropped_and_named(alone, strangers, caplog):
    content = detect(alone, ["new", strangers])
    write_sealed(Path(alone["path"]).parent / FILE, {**content, "accuracy": content["accuracy"] - 1})
    found = detect(alone, ["new"])
    assert (list(found["sets"]), found["accuracy"]) == (["new"], content["accuracy"])
    assert "earlier figures of strangers are dropped, because known images have other scores now" in caplog.text
    assert set(read_scores(alone)[0]) == {"known", "new"}


def test_the_choice_is_made_without_any_image_beyond_the_support(runs, monkeypatch):
    trainer = reload_trainer(runs["SimNL"])
    found = fit_detectors(trainer)
    assert set(found.pseudo_auroc) >= {"maxlogit", "agree", "yes_no"}
    assert found.chosen == max(found.pseudo_auroc, key=lambda name: found.pseudo_auroc[name])
    trainer.test_loader = trainer.dm = None  # test images cannot be had
    assert fit_detectors(trainer) == found
    trainer.num_val = 0
    alone = fit_detectors(trainer)
    assert (alone.chosen, alone.offset, alone.pseudo_auroc) == (found.chosen, found.offset, found.pseudo_auroc)
    assert (alone.thresholds, alone.temperature) == ({}, 1.0)


def test_one_shot_and_few_classes(place):
    one = train(place, "SimNL", "DATASET.NUM_SHOTS", "1")
    trainer = reload_trainer(one)
    assert fit_detectors(trainer).pseudo_auroc  # the last view is held out
    trainer.task = trainer.task.__class__(
        **{**trainer.task.__dict__, "support_features": trainer.task.support_features[:1]}
    )
    assert fit_detectors(trainer).pseudo_auroc == {}  # of one view nothing can be held out
    assert fit_detectors(trainer).chosen == "maxlogit"


def test_a_method_that_cannot_do_with_one_image_less_has_other_thresholds(place):
    one = train(place, "GDA", "VIEWS.CACHE", "1")  # of one row of each class there is no covariance
    assert fit_detectors(reload_trainer(one)).thresholds_from != "support"
    assert detect(one, ["new"])["sets"]["new"]["figures"]


def test_a_method_without_sides_has_the_scores_of_its_logits(runs):
    found = detect(runs["ZeroshotCLIP"], ["new"])
    assert found["detectors"] | {"scale": 0} == {
        "scale": 0, "offset": 0.0, "chosen": "maxlogit", "pseudo_auroc": {}, "temperature": 1.0, "thresholds": {},
        "thresholds_from": "",
    }  # fmt: skip
    assert set(found["sets"]["new"]["figures"]) == {"msp", "maxlogit", "energy", "mcm@T1", "entropy@T1", "msp/T"}
    assert "accuracy_by_share" not in found


def test_the_table(runs, strangers):
    for one in runs.values():
        (Path(one["path"]).parent / FILE).unlink(missing_ok=True)  # of other sets
        detect(one, ["new", strangers])
    tables = build("ood", list(runs.values()), Request())
    titles = [table.title.partition(",")[0] for table in tables]
    assert [title.rpartition(" ")[2] for title in titles[:2]] == ["new", "strangers"]
    assert titles[2].startswith("Share of the positive side")
    (line,) = [x for x in tables[0].tidy if x["method"] == "SimNL" and x["score"] == "energy"]
    figures = read_detection(runs["SimNL"])["sets"]["new"]["figures"]["energy"]
    assert (line["auroc"], line["fpr95_id"]) == (figures["auroc"], figures["fpr95_id"])
    assert any(x["score"].startswith("chosen (") for x in tables[0].tidy)


def test_records_without_detection_say_what_to_run(runs, tmp_path):
    shutil.copytree(Path(runs["SimNL"]["path"]).parent, tmp_path / "copy")
    for name in (FILE, SCORES):
        (tmp_path / "copy" / name).unlink(missing_ok=True)
    with pytest.raises(ValueError, match=r"bash scripts/simnl/ood\.sh"):
        build("ood", find_records([tmp_path]), Request())


# ---------------------------------------------------------------------- what is refused


def refused(record: dict, name: str, message: str, error: type[Exception] = ValueError) -> None:
    with pytest.raises(error, match=message):
        build_outliers(read_config(Path(record["path"]).parent), [name])


def test_outliers_that_are_known_or_empty_are_told(runs, tmp_path):
    one = runs["SimNL"]
    make_images(tmp_path / "zoo" / "Ant", 3, size=16)
    refused(
        one, f"{tmp_path}/zoo", r"The outliers zoo are not unknown: 1 of their classes are known to the run \(ant\)"
    )
    (tmp_path / "empty").mkdir()
    refused(one, f"{tmp_path}/empty", "there is no image in .*empty or below it", FileNotFoundError)
    refused(one, f"{tmp_path}/nowhere", "there is no folder .*/nowhere", FileNotFoundError)
    refused(one, "plain_texture", "Did you mean plain_textures")
    make_images(tmp_path / "b" / "zoo" / "newt", 2, size=16)
    make_images(tmp_path / "a" / "zoo" / "mole", 2, size=16)
    with pytest.raises(ValueError, match="same name: zoo"):
        build_outliers(read_config(Path(one["path"]).parent), [f"{tmp_path}/a/zoo", f"{tmp_path}/b/zoo"])


def test_an_image_of_the_run_among_the_outliers_is_told(runs, place, tmp_path):
    trainer = reload_trainer(runs["SimNL"])
    (tmp_path / "unicorn").mkdir()
    shutil.copy(trainer.dm.dataset.test[0].impath, tmp_path / "unicorn" / "copy.png")
    refused(runs["SimNL"], f"{tmp_path}/", "1 of their 1 images are images of the run, byte for byte")


def test_new_classes_need_a_run_on_the_others(runs, place):
    cfg = read_config(place / "SimNL0").clone()
    cfg.defrost()
    cfg.DATASET.SUBSAMPLE_CLASSES = "all"
    with pytest.raises(ValueError, match="Set DATASET.SUBSAMPLE_CLASSES to base"):
        build_outliers(cfg, ["new"])


def test_logits_that_are_not_finite_name_the_method(runs, monkeypatch):
    def broken(self, features):
        return torch.full((len(features), 5), torch.nan)

    trainer = reload_trainer(runs["ZeroshotCLIP"])
    monkeypatch.setattr(type(trainer.head), "forward", broken)
    with pytest.raises(ValueError, match="ZeroshotCLIP gives logits"):
        detect(runs["ZeroshotCLIP"], ["new"])


def test_a_damaged_or_foreign_file_is_told(runs):
    one = runs["ZeroshotCLIP"]
    detect(one, ["new"])
    with pytest.raises(ValueError, match="belongs to another run than the result.json beside it"):
        read_detection({**one, "seed": 9})
    with pytest.raises(ValueError, match="belongs to another run"):
        read_scores({**one, "seed": 9})
    path = Path(one["path"]).parent / FILE
    path.write_text(path.read_text().replace("0.", "1.", 1))
    with pytest.raises(ValueError, match=r"is damaged .* Run the method's ood\.sh, which makes it"):
        read_detection(one)


def test_rendered_outliers_are_functions_of_their_names(tmp_path):
    """A few of each: the rest is left as it would be by a killed process."""
    from datasets.shapes.outliers import paint_figure, paint_noise, paint_texture

    assert list(RENDERED) == ["unseen_shapes", "plain_textures", "plain_noise"]
    assert ", ".join(RENDERED) in (REPO / "tools" / "ood.py").read_text()  # help names them without importing them
    for paint, first, second in (
        (paint_figure, ("gear", "striped", 0), ("gear", "striped", 1)),
        (paint_texture, ("dotted", 0), ("dotted", 1)),
        (paint_noise, ("smooth", 0), ("uniform", 0)),
    ):
        one, again, other = (np.asarray(paint(*key)) for key in (first, first, second))
        assert one.shape == (48, 48, 3)
        np.testing.assert_array_equal(one, again)
        assert (one != other).any()


def test_no_rendered_class_is_one_of_shapes():
    from datasets.shapes.classes import CLASSES
    from datasets.shapes.outliers import UNSEEN

    seen = {(kind.figure, kind.pattern) for kind in CLASSES}
    assert not seen & set(UNSEEN)
    assert len(UNSEEN) == len(set(UNSEEN)) == 34
