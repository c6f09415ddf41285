"""Heads on the hub: huggingface_hub itself uploads and downloads, to and from a server on the loopback."""

from __future__ import annotations

import re

import httpx
import numpy as np
import pytest
import yaml
from scipy.stats import norm

from helpers.hub_server import serve
from helpers.logit_runs import drawn, make_run
from simnl import FewShotClassifier
from simnl.classifier import push_command
from simnl.classifier.card import Evaluation, model_card
from simnl.fewshot import head_file
from simnl.sealed import write_tensors

RIGHT = {"token": "hf_right"}


@pytest.fixture
def hub(tmp_path):
    with serve(tmp_path / "hub-cache") as hub:
        yield hub


@pytest.fixture(scope="session")
def features():
    """Three classes that are nearly apart, (24, 8) with labels, half to learn from and half to test on."""
    generator = np.random.default_rng(0)
    y = np.repeat(["ant", "bee|cat", "dog"], 8)
    x = 3 * np.eye(8)[np.repeat([0, 1, 2], 8)] + generator.normal(size=(24, 8))
    return (x[::2], y[::2]), (x[1::2], y[1::2])


@pytest.fixture(scope="session")
def fitted(features):
    return FewShotClassifier("TipAdapter", text_features="class-means", device="cpu").fit(*features[0])


@pytest.fixture(scope="session")
def of_pictures(pictures, features_cache):
    classifier = FewShotClassifier("TipAdapter", backbone="tiny", cache=features_cache, device="cpu")
    return classifier.fit(*pictures["train"])


def test_a_classifier_comes_back_from_the_hub(hub, of_pictures, pictures, features_cache):
    test = pictures["test"]
    address = of_pictures.push_to_hub("me/figures", test=test, license="mit", private=True, **RIGHT)
    assert address.startswith(f"{hub.url}/me/figures/commit/")
    files = hub.repositories["me/figures"]
    assert sorted(files) == ["README.md", "config.json", "head.safetensors"]  # nothing else is uploaded
    again = FewShotClassifier.from_pretrained("me/figures", device="cpu", cache=features_cache)
    np.testing.assert_array_equal(again.logits(test[0]), of_pictures.logits(test[0]))
    assert again.classes_.tolist() == of_pictures.classes_.tolist()
    card = files["README.md"].decode()
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] == "mit"
    assert header["library_name"] == "simnl"
    assert again._fitted.about.backbone.fingerprint in card
    right = int((of_pictures.predict(test[0]) == np.array(test[1])).sum())
    for said in (
        f"({right} of 9), 95 % interval", "expected calibration error", "- template: a photo of a {}.",
        "TipAdapter", "no-val: nothing was chosen", "at most 2 of each class", "1. solid heart", "What it is not",
        'FewShotClassifier.from_pretrained("me/figures")',
    ):  # fmt: skip
        assert said in card
    assert card.count("**Fill in**") == 4


def test_names_of_pictures_and_paths_stay_at_home_unless_they_are_wanted(of_pictures, tmp_path):
    of_pictures.save_pretrained(tmp_path / "plain")
    of_pictures.save_pretrained(tmp_path / "named", keep_names=True)
    assert head_file.load(tmp_path / "plain").about.support == ()
    assert len(head_file.load(tmp_path / "named").about.support) == 6
    assert str(tmp_path).encode() not in (tmp_path / "plain" / "head.safetensors").read_bytes()


def test_a_folder_is_as_a_repository_and_its_card_stays(fitted, features, tmp_path):
    folder = tmp_path / "shared"
    fitted.save_pretrained(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "head.safetensors"]
    (folder / "README.md").write_text("written by a person")
    fitted.save_pretrained(folder)
    assert (folder / "README.md").read_text() == "written by a person"
    again = FewShotClassifier.from_pretrained(folder, device="cpu")
    np.testing.assert_array_equal(again.logits(features[1][0]), fitted.logits(features[1][0]))


def test_the_card_of_features_says_so_and_escapes_names(fitted):
    about = fitted._fitted.about
    card = model_card(about, "me/x")
    assert "features of another program" in card
    assert "fingerprint" not in card
    assert "It was not measured" in card
    assert "1. bee\\|cat" in card
    assert "license:" not in yaml.safe_dump(yaml.safe_load(card.split("---")[1]))


def test_accuracy_and_its_interval():
    """Wilson's formula by hand; a confidence of 0.9 where 3 of 4 are right is 15 points too high."""
    rows = np.full((4, 2), [0.9, 0.1])
    found = Evaluation.of("x", rows, [0, 0, 0, 1])
    assert (found.right, found.total, found.accuracy) == (3, 4, 75.0)
    assert found.ece == pytest.approx(15.0)
    assert found.confidence == pytest.approx(90.0)
    z, p, n = norm.ppf(0.975), 0.75, 4
    middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    wanted = [100 * (middle + sign * half) / (1 + z * z / n) for sign in (-1, 1)]
    assert found.interval == pytest.approx(wanted)


def test_what_goes_wrong_is_one_sentence(hub, fitted, tmp_path):
    fitted.push_to_hub("me/heads", **RIGHT)
    hub.repositories["me/other"] = {"config.json": b"{}", "model.safetensors": b"x"}
    write_tensors(tmp_path / "x.safetensors", {}, {"format": "another-head", "version": 1})
    hub.repositories["me/format"] = {"head.safetensors": (tmp_path / "x.safetensors").read_bytes()}
    hub.repositories["me/broken"] = {"head.safetensors": hub.repositories["me/heads"]["head.safetensors"][:-9]}
    cases = {
        "me/none": "me/none: there is no such repository, or it is private",
        "me/other": "The repository me/other has no file head.safetensors",
        "me/format": "has the format 'another-head'",
        "me/broken": "is damaged",
        "no name!": "'no name!' is neither a folder nor a repository",
    }
    for name, said in cases.items():
        with pytest.raises(ValueError, match=re.escape(said)) as caught:
            FewShotClassifier.from_pretrained(name, device="cpu")
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="me/heads: there is no such repository, or the hub does not accept the token"):
        fitted.push_to_hub("me/heads", token="hf_wrong")
    hub.fail = 403
    with pytest.raises(ValueError, match="the token may not write there"):
        fitted.push_to_hub("me/heads", **RIGHT)
    hub.fail = 418
    with pytest.raises(ConnectionError, match="the hub answered with status 418"):
        fitted.push_to_hub("me/heads", **RIGHT)
    with pytest.raises(ValueError, match="not fitted yet"):
        FewShotClassifier().push_to_hub("me/heads", **RIGHT)
    with pytest.raises(ValueError, match="y has the label 'fly', which is not a class of the classifier"):
        fitted.push_to_hub("me/heads", test=([[0.0] * 8], ["fly"]), **RIGHT)


def test_without_a_network_it_is_told_at_once(fitted, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    for act in (lambda: fitted.push_to_hub("me/x", **RIGHT), lambda: FewShotClassifier.from_pretrained("me/x")):
        with pytest.raises(ConnectionError, match=r"me/x: http://127.0.0.1:9 does not answer.*save_pretrained"):
            act()


def test_a_connection_that_breaks_off_is_told_and_a_full_disk_is_none(hub, fitted, monkeypatch):
    def breaks(error):
        def push(*args, **options):
            raise error

        monkeypatch.setattr("huggingface_hub.ModelHubMixin.push_to_hub", push)

    breaks(httpx.ReadTimeout("timed out"))
    with pytest.raises(ConnectionError, match=r"me/x: timed out\. Check the network"):
        fitted.push_to_hub("me/x", **RIGHT)
    breaks(OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space left") as caught:
        fitted.push_to_hub("me/x", **RIGHT)
    assert not isinstance(caught.value, ConnectionError)


def test_what_was_downloaded_needs_no_hub(hub, fitted, features):
    fitted.push_to_hub("me/heads", **RIGHT)
    with pytest.raises(ValueError, match="me/heads is not on this machine"):
        FewShotClassifier.from_pretrained("me/heads", local_files_only=True)
    FewShotClassifier.from_pretrained("me/heads", device="cpu")
    hub.fail = 500
    again = FewShotClassifier.from_pretrained("me/heads", device="cpu", local_files_only=True)
    assert again.predict(features[1][0]).tolist() == fitted.predict(features[1][0]).tolist()


def test_a_card_on_the_hub_can_stay(hub, fitted):
    fitted.push_to_hub("me/heads", **RIGHT)
    hub.repositories["me/heads"]["README.md"] = b"written by a person"
    fitted.push_to_hub("me/heads", keep_card=True, license="mit", **RIGHT)
    assert hub.repositories["me/heads"]["README.md"] == b"written by a person"
    fitted.push_to_hub("me/heads", **RIGHT)
    assert b"What it is not" in hub.repositories["me/heads"]["README.md"]


def test_the_command_puts_the_accuracy_of_a_run_into_the_card(hub, fitted, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    run, out = tmp_path / "run", tmp_path / "out"
    logits, labels = drawn(0, 40)
    right = int((logits.argmax(1) == labels).sum())
    make_run(run, {"test": (logits, labels)}, dataset="dtd", num_test=40)
    fitted.save(run / "head.safetensors")
    assert push_command.run([str(run), "me/run", "--folder", str(out)]) == 0
    card = (out / "README.md").read_text()
    assert f"({right} of 40)" in card
    assert "| measured on | the test images of dtd |" in card
    assert "expected calibration error" in card
    assert not hub.repositories
    (tmp_path / "file").write_text("mine")
    for words, said in (
        (["me/run", "--folder", ""], "--folder is empty"),
        (["me/run", "--folder", str(tmp_path / "file")], "which is not a folder"),
        (["no name", "--folder", str(tmp_path / "no")], "'no name' is neither a folder nor a repository of the hub"),
    ):
        with pytest.raises((ValueError, OSError), match=said):
            push_command.run([str(run), *words])
    assert not hub.repositories
    assert not (tmp_path / "no").exists()
    (run / "logits.safetensors").unlink()
    assert push_command.run([str(run), "me/run", "--license", "mit"]) == 0
    assert f"{hub.url}/me/run/commit/" in capsys.readouterr().out
    card = hub.repositories["me/run"]["README.md"].decode()
    assert f"({right} of 40)" in card
    assert "expected calibration error" not in card
