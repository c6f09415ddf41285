"""Scores by patches, words and a second text tower in a run: what they depend on, and what is said without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import ood
import pytest
import torch

from helpers.detection_runs import make_place, train
from helpers.images import make_images
from helpers.no_towers import denying_text, random_tower, save_checkpoint
from simnl.clip.patches import with_patches
from simnl.data import wordnet
from simnl.fewshot.inputs import load_backbone
from simnl.files import sha256_of
from simnl.metrics.two_sided import conformal_threshold
from simnl.results.plots.of_records import RECORD_KINDS
from simnl.results.plots.series import Wanted
from simnl.results.tables import Request, build
from simnl.runs.denials import CLIPN_SCORES, denying_model
from simnl.runs.detection import FILE, SCORES, detect, has_detection, read_detection, read_scores
from simnl.runs.extra_scores import EXTRA, prepare
from simnl.runs.open_set import fit_detectors
from simnl.runs.outliers import build_outliers, items_of
from simnl.runs.reload import reload_trainer
from simnl.runs.score_inputs import constants, unit_images
from simnl.runs.stored_config import read_config

WORDS = ("otter", "sea_otter", "oak", "elm", "violin", "granite", "river", "anger", "square", "moon")


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    root = make_place(tmp_path_factory.mktemp("extra"))
    (root / "words.txt").write_text("\n".join(WORDS))
    return root


@pytest.fixture(scope="module")
def one(place) -> dict:
    return train(place, "TipAdapter")


@pytest.fixture(autouse=True)
def nothing_is_found_yet(one) -> None:
    for name in (FILE, SCORES):
        (Path(one["path"]).parent / name).unlink(missing_ok=True)


def test_all_of_them(one, place, tmp_path):
    words = str(place / "words.txt")
    first = detect(one, ["new"], EXTRA, words)
    streamed = "adaneg (test-time)"
    assert first["own"] == ["gl_mcm", "l_mcm", "neglabel", "csp", streamed]
    assert set(first["extra"]["missing"]) == set(CLIPN_SCORES)
    scores, _ = read_scores(one)
    assert {"gl_mcm", "neglabel", "csp"} <= set(scores["known"]) & set(first["detectors"]["thresholds"])
    assert streamed not in first["detectors"]["thresholds"]  # it depends on the outliers
    np.testing.assert_allclose(scores["new"]["gl_mcm"] - scores["new"]["l_mcm"], whole_images(one), atol=2e-4)
    sets = build_outliers(read_config(Path(one["path"]).parent), ["new"])
    digest = first["extra"]["words"]
    assert has_detection(one, sets, EXTRA, digest)
    assert not has_detection(one, sets, EXTRA, "of other words")
    make_images(tmp_path / "others" / "kraken", 11, size=16, seed=101)
    second = detect(one, [f"{tmp_path}/others"], EXTRA, words)
    assert (first["detectors"], first["accuracy"]) == (second["detectors"], second["accuracy"])
    again, _ = read_scores(one)
    assert all(np.array_equal(scores["known"][name], again["known"][name]) for name in scores["known"])
    assert any(line["score"] == streamed for line in build("ood", [one], Request())[0].tidy)
    found = second["sets"]["others"]["figures"]["energy"]["auroc"]
    assert build("tradeoff", [one], Request())[0].tidy[0]["others: energy"] == pytest.approx(found)
    (figure,) = RECORD_KINDS["tradeoff"]([{**one, "inference": "transductive"}]).values()
    assert figure.legends[0].get_texts()[0].get_text().endswith("†")
    assert "one seed" in figure._suptitle.get_text()
    of_new, of_others = figure.axes[:2]  # earlier sets are kept
    ((x,), (y,)) = of_others.lines[0].get_data()
    assert (x, y) == (pytest.approx(second["accuracy"]), pytest.approx(100 * found))
    assert of_new.get_ylabel() == "AUROC of energy (%)"
    with pytest.raises(ValueError, match="has the score 'enrgy'"):
        RECORD_KINDS["tradeoff"]([one], Wanted(score="enrgy"))


@pytest.fixture
def no_words(monkeypatch, tmp_path) -> None:
    """Nothing where the words are looked for when WORDNET is not set."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NLTK_DATA", raising=False)
    monkeypatch.setattr(wordnet, "DEBIAN", tmp_path / "none")


def test_scores_of_earlier_commands_are_kept(one, place, tmp_path, no_words):
    words, folder = str(place / "words.txt"), Path(one["path"]).parent
    make_images(tmp_path / "others" / "kraken", 11, size=16, seed=101)
    first = detect(one, ["new"], ["neglabel"], words)
    second = detect(one, [f"{tmp_path}/others"], ["gl_mcm", "neglabel"])
    assert "neglabel" in second["sets"]["new"]["figures"].keys() - second["sets"]["others"]["figures"].keys()
    assert second["detectors"]["thresholds"].keys() >= first["detectors"]["thresholds"].keys() | {"gl_mcm"}
    assert (second["own"], second["extra"]["words"]) == (["neglabel", "gl_mcm", "l_mcm"], first["extra"]["words"])
    new, others = (build_outliers(read_config(folder), [name]) for name in ("new", f"{tmp_path}/others"))
    assert has_detection(one, new, ["neglabel"], first["extra"]["words"])
    assert has_detection(one, others, ["gl_mcm"])
    assert not has_detection(one, new, ["gl_mcm"])
    assert not has_detection(one, others, ["neglabel"], first["extra"]["words"])
    of_new, of_others = build("ood", [one], Request())
    assert ["neglabel: n/a" in str(table.caption) for table in (of_new, of_others)] == [False, True]


def whole_images(record: dict) -> np.ndarray:
    """MCM at temperature 1 of the new classes' images, with the templates' texts, from the frozen CLIP."""
    trainer = reload_trainer(record)
    clip = with_patches(load_backbone(trainer.cfg.MODEL.BACKBONE, trainer.device))
    texts = trainer.task.text_features("template")
    (outliers,) = build_outliers(trainer.cfg, ["new"])
    features = trainer.store.images(outliers.paths, trainer.inputs.test_view)[0]
    assert clip.image_dim == 2 * features.shape[1]
    return torch.nn.functional.normalize(features, dim=-1).matmul(texts.T).softmax(1).amax(1).numpy()


def test_without_words_the_table_says_why(one, no_words):
    found = detect(one, ["new"], ["neglabel"])
    assert found["own"] == []
    table = build("ood", [one], Request())[0]
    assert any(", neglabel: n/a (WordNet was not found. Please set WORDNET" in line for line in table.caption)
    assert "neglabel: n/a" in [row[1].text for row in table.blocks[0].rows]


@pytest.fixture(scope="module")
def towers(one, place) -> dict[str, Path]:
    """A second tower of random numbers in a file, the same in another file, and beside the text tower of others."""
    cfg = reload_trainer(one).cfg
    clip = load_backbone(cfg.MODEL.BACKBONE, torch.device("cpu"))
    tower = random_tower(clip)
    first = save_checkpoint(place / "epoch_10.pt", clip, tower)
    other = save_checkpoint(place / "other.pt", clip, {**tower, "more": torch.ones(1)})
    unlike = {"ln_final.bias": clip.whole.state_dict()["ln_final.bias"] + 1}
    return {"first": first, "other": other, "unlike": save_checkpoint(place / "unlike.pt", clip, {**tower, **unlike})}


def test_two_towers(one, towers):
    """Both scores from the formula, image by image and class by class, with texts written out sentence by sentence."""
    found = detect(one, ["new"], CLIPN_SCORES, clipn=str(towers["first"]))
    assert found["own"] == ["clipn_ctw", "clipn_atd"]
    trainer, scores = reload_trainer(one), read_scores(one)[0]["new"]
    clip = load_backbone(trainer.cfg.MODEL.BACKBONE, trainer.device)
    side = prepare(trainer, CLIPN_SCORES, clipn=str(towers["first"])).denials
    sentences = [sentence.format(trainer.classnames[0]) for sentence in constants("CLIPN")["SENTENCES"]]
    assert (len(sentences), len(set(sentences))) == (128, 128)
    total = sum(feature / feature.norm() for feature in clip.text_rows(clip.tokenize(sentences)).double())
    np.testing.assert_allclose(side.yes[0], total / total.norm(), rtol=0, atol=1e-6)
    denied = denying_text(random_tower(clip), clip, sentences)
    np.testing.assert_allclose(side.no[0], denied, rtol=0, atol=1e-6)
    (outliers,) = build_outliers(trainer.cfg, ["new"])
    for row, image in enumerate(unit_images(side.rows, items_of(outliers))[:3]):
        asserted = [np.exp(clip.logit_scale * image @ text) for text in side.yes]
        p = [a / (a + np.exp(clip.logit_scale * image @ text)) for a, text in zip(asserted, side.no, strict=True)]
        assert scores["clipn_ctw"][row] == pytest.approx(p[int(np.argmax(asserted))], rel=1e-9)
        average = sum(a * share for a, share in zip(asserted, p, strict=True)) / sum(asserted)
        assert scores["clipn_atd"][row] == pytest.approx(average, rel=1e-9)


def test_a_second_tower_is_read_once_for_all_runs(one, towers, tmp_path):
    clip, again = (load_backbone(reload_trainer(one).cfg.MODEL.BACKBONE, torch.device("cpu")) for _ in range(2))
    path = tmp_path / "tower.pt"
    path.write_bytes(towers["first"].read_bytes())
    denying = denying_model(clip, str(path))
    assert denying_model(again, str(path)) is denying
    save_checkpoint(path, clip, random_tower(clip, 1))
    assert denying_model(clip, str(path)).fingerprint != denying.fingerprint


def test_the_command_finds_the_second_tower(one, towers, monkeypatch, capsys, caplog):
    monkeypatch.setenv("SCORES", "clipn_ctw")
    folder = Path(one["path"]).parent
    detect(one, ["new"])
    for name, said in (("first", "AUROC of"), ("first", "scored before, skipped"), ("other", "AUROC of")):
        monkeypatch.setenv("CLIPN", str(towers[name]))
        ood.check_sources(ood.asked_scores(), read_config(folder))
        ood.detect_all([folder], ["new"], ood.asked_scores())
        assert said in capsys.readouterr().out
        assert read_detection(one)["extra"]["clipn"] == sha256_of(towers[name])
    monkeypatch.setenv("SCORES", "gl_mcm")
    ood.asked_scores()
    assert "SCORES none of the scores that need it: clipn_ctw, clipn_atd." in caplog.text
    monkeypatch.setenv("SCORES", "clipn_ctw")
    monkeypatch.setenv("CLIPN", str(folder / "none.pt"))
    with pytest.raises(FileNotFoundError, match="^CLIPN: .*none.pt does not exist"):
        ood.check_sources(ood.asked_scores(), read_config(folder))
    monkeypatch.setenv("CLIPN", str(towers["unlike"]))
    with pytest.raises(ValueError, match="trained with other weights"):  # before anything is trained
        ood.check_sources(ood.asked_scores(), read_config(folder))
    with pytest.raises(FileNotFoundError, match="^CLIPN: .*none.pt does not exist"):
        detect(one, ["new"], ["clipn_ctw"], clipn=str(folder / "none.pt"))
    detect(one, ["new"], ["clipn_atd"])
    table = build("ood", [one], Request())[0]
    assert any(", clipn_atd: n/a (CLIPN names no file, and these scores need" in line for line in table.caption)


def test_names_and_methods_that_have_no_such_score(one, place):
    trainer = reload_trainer(one)
    with pytest.raises(
        ValueError, match="SCORES names the unknown score 'glmcm'. Choose from gl_mcm, neglabel, csp, adaneg"
    ):
        prepare(trainer, ["glmcm"])
    with pytest.raises(ValueError, match="`all` stands alone"):
        prepare(trainer, ["all", "gl_mcm"])
    trainer.image_encoder_frozen = False
    assert prepare(trainer, ["gl_mcm"]).missing == {
        "gl_mcm": "the method changes the image tower, and patches are those of the frozen one"
    }
    (place / "few.txt").write_text("otter\n")
    assert "1 words are too few" in prepare(trainer, ["csp"], str(place / "few.txt")).missing["csp"]


def test_thresholds_without_training_are_of_support_images_left_out(one):
    trainer = reload_trainer(one)
    found = fit_detectors(trainer)
    assert found.thresholds_from == "support"
    task, scores = trainer.task, []
    for turn in (0, 1):  # two shots
        out = torch.arange(len(task.support_labels)) % 2 == turn
        kept = replace(
            task, support_features=task.support_features[:, ~out], support_labels=task.support_labels[~out],
            support_classes=task.support_classes[~out], num_shots=1,
        )  # fmt: skip
        head = trainer.build_head(kept, trainer.node).eval()
        head.hparams.update(trainer.head.hparams)
        scores += head(task.support_features[0, out]).max(1).values.double().tolist()
    assert found.thresholds["maxlogit"] == pytest.approx(conformal_threshold(np.array(scores), 0.95), abs=1e-5)
    seen = float(trainer.head(task.support_features[0]).max(1).values.min())
    assert found.thresholds["maxlogit"] < seen  # a cached key recognises itself
