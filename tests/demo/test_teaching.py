"""What a page learns and says: labels, evidence, corrections, refits, head files. All of it on the tiny CLIP."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from simnl import FewShotClassifier
from simnl.clip.filling import Filling
from simnl.demo import learning
from simnl.demo.lesson import Lesson
from simnl.demo.teacher import Replaced
from simnl.escaping import file_name

TWO = ("dotted star", "solid heart")


def labels_of(state: dict) -> dict[int, str]:
    """The most probable class of each new picture."""
    labels = state["labels"]
    return {int(number): labels["fit"]["classes"][best[0][0]] for number, best in labels["of"].items()}


def numbers(page, paths: list[str]) -> list[int]:
    return [page.add(path).json()["number"] for path in paths]


@pytest.fixture
def encoded(monkeypatch) -> list[tuple]:
    """What the image tower has encoded: (content, transform, view) of each."""
    seen: list[tuple] = []
    original = Filling._write

    def watched(self, keys, features):
        seen.extend((content, self._spec.digest, view) for content, view, _ in keys)
        return original(self, keys, features)

    monkeypatch.setattr(Filling, "_write", watched)
    return seen


def test_from_nothing_to_labels_with_reasons(open_page, pictures, tmp_path):
    page = open_page()
    state = page.settled()
    assert state["status"]["text"] == "No class has a picture yet. Add a few pictures to each class."
    assert [one["name"] for one in state["content"]["classes"]] == ["class 1", "class 2"]
    assert state["labels"]["fit"] is None
    page.teach(pictures, TWO)
    test = [path for path, label in zip(*pictures["test"], strict=True) if label in TWO]
    new = numbers(page, test)
    state = page.settled()
    assert (state["status"]["phase"], state["current"]) == ("ready", True)
    assert labels_of(state) == dict(zip(new, np.repeat(TWO, 2).tolist(), strict=True))

    # the same as the classifier for programs says, on the files themselves
    paths, names = pictures["train"]
    chosen = [name in TWO for name in names]
    paths = [path for path, is_in in zip(paths, chosen, strict=True) if is_in]
    names = [name for name, is_in in zip(names, chosen, strict=True) if is_in]
    classifier = FewShotClassifier("SimNL", backbone="tiny", device="cpu", cache=tmp_path / "cache").fit(paths, names)
    expected = classifier.predict_proba(test)
    for number, row in zip(new, expected, strict=True):
        for index, share in state["labels"]["of"][str(number)]:
            assert share == pytest.approx(row[index], abs=1e-5)

    fit = state["labels"]["fit"]["number"]
    why = page.get(f"why/{fit}/{new[0]}").json()
    assert (why["label"], why["rival"]) == TWO
    logits = classifier.logits(test[:1])[0]
    assert [sum(term[i] for term in why["terms"]) for i in (1, 2)] == pytest.approx(logits.tolist(), abs=1e-3)
    assert [name for name, _, _ in why["terms"]] == [
        "positive text", "negative text", "positive cache", "negative cache",
    ]  # fmt: skip
    stars = {f"pictures/{one['number']}" for one in state["content"]["classes"][0]["pictures"]}
    assert {one["picture"] for one in why["support"]} == stars
    for address in stars:
        answer = page.get(address)
        assert answer.headers["content-type"] == "image/jpeg"
        assert answer.content[:2] == b"\xff\xd8"


def test_a_correction_teaches_and_nothing_is_encoded_twice(open_page, pictures, encoded):
    page = open_page()
    state = page.teach(pictures, TWO)
    (wrong,) = numbers(page, [pictures["test"][0][0]])
    first = page.settled()["labels"]["fit"]
    assert (first["pictures"], first["classes"]) == (6, list(TWO))
    heart = state["content"]["classes"][1]["number"]
    page.post(f"pictures/{wrong}", place=heart)
    state = page.settled()
    assert state["labels"]["of"] == {}
    assert [len(one["pictures"]) for one in state["content"]["classes"]] == [3, 4]
    assert state["labels"]["fit"]["pictures"] == 7
    page.post(f"pictures/{wrong}", place=0)
    page.post(f"classes/{heart}", name="heart")
    before = len(encoded)
    state = page.settled()
    assert labels_of(state) == {wrong: "dotted star"}
    assert state["labels"]["fit"]["classes"] == ["dotted star", "heart"]
    assert state["labels"]["fit"]["number"] > first["number"]
    for method in ("TipAdapter", "GDA", "ZeroshotCLIP"):
        page.post("settings", method=method)
        assert page.settled()["labels"]["fit"]["method"] == method
    assert len(encoded) == before  # a refit reads what is stored
    assert len(encoded) == len(set(encoded)) == 7 * 10 + 1  # ten views to learn from, one to label


def test_prompts_and_sentences_count_where_a_method_reads_them(open_page, pictures):
    page = open_page()
    state = page.teach(pictures, TWO)
    star, heart = (one["number"] for one in state["content"]["classes"])
    (new,) = numbers(page, pictures["test"][0][:1])
    known = {one["name"]: one for one in state["content"]["methods"]}
    assert known["SimNL"]["sentences"]
    assert known["SimNL"]["negative"]
    assert not known["TipAdapter"]["sentences"]
    assert not {"TDA", "TransCLIP", "CLIPLoRA"} & set(known)  # look at all images at once; need a ViT

    def share() -> float:
        return page.settled()["labels"]["of"][str(new)][0][1]

    first = share()
    page.post(f"classes/{star}", sentences=["a heart with dots", " "])
    second = share()
    assert second != first
    assert page.settled()["content"]["classes"][0]["sentences"] == ["a heart with dots"]
    page.post("settings", templates=["a drawing of a {}", "a {}"])
    assert share() not in (first, second)
    page.post(f"classes/{star}", sentences=[])
    page.post("settings", templates=[])
    assert share() == first  # the defaults are back
    assert page.state()["content"]["settings"]["templates"] == ["a photo of a {}."]
    page.post("settings", method="TipAdapter")
    tip = share()
    page.post(f"classes/{heart}", sentences=["anything"])
    assert share() == tip


def test_what_is_missing_is_a_sentence(open_page, pictures):
    page = open_page()
    state = page.teach(pictures, TWO)
    star, heart = (one["number"] for one in state["content"]["classes"])
    (new,) = numbers(page, pictures["test"][0][:1])
    known = page.settled()["labels"]
    page.post("classes", name="moon")
    state = page.settled()
    assert (state["status"]["phase"], state["current"]) == ("waiting", False)
    assert state["status"]["text"] == "“moon” has no picture. Add some, or remove it."
    assert state["labels"] == known  # the old ones stay, and are out of date
    assert page.get("head").json()["problem"].startswith("There is nothing to save yet")
    moon = state["content"]["classes"][2]["number"]
    page.client.delete(f"/a-token/classes/{moon}")
    assert page.settled()["status"]["phase"] == "ready"
    page.client.delete(f"/a-token/classes/{heart}")
    text = page.settled()["status"]["text"]
    assert text == "There is one class, “dotted star”. Add another one, because two or more are needed."
    page.client.delete(f"/a-token/classes/{star}")
    assert page.settled()["status"]["text"].startswith("There is no class. Add another")
    assert page.post(f"pictures/{new}", place=star).json()["problem"] == "This class is not there any more."


def lesson(names: tuple[str, ...], filled: int) -> Lesson:
    examples = tuple((i, f"{i}.png", name) for i, name in enumerate(names[:filled]))
    return Lesson(1, "", "SimNL", None, None, names, {}, examples, (), None)


@pytest.mark.parametrize(
    ("names", "filled", "said"),
    [
        (("a", "b", "c"), 1, "“b” and “c” have no pictures. Add some, or remove them."),
        (tuple("abcdef"), 1, "“b”, “c”, “d” and 2 more have no pictures. Add some, or remove them."),
        (("a", "b"), 2, ""),
    ],
)
def test_the_names_in_such_a_sentence(names, filled, said):
    assert lesson(names, filled).missing() == said


def test_what_the_library_refuses_is_said_and_a_defect_too(open_page, pictures, monkeypatch, caplog):
    page = open_page()
    page.teach(pictures, TWO)
    real = learning.learn

    def refuse(*_):
        raise ValueError("two classes have the same prompt")

    monkeypatch.setattr(learning, "learn", refuse)
    page.post("settings", method="TipAdapter")
    state = page.settled()
    assert (state["status"]["phase"], state["current"]) == ("problem", False)
    assert state["status"]["text"] == "two classes have the same prompt"
    monkeypatch.setattr(learning, "learn", lambda *_: {}["nothing"])
    page.post("settings", method="LinearProbe")
    assert page.settled()["status"]["text"].startswith("A defect stopped it (KeyError: nothing)")
    assert "KeyError" in caplog.text
    monkeypatch.setattr(learning, "learn", real)
    page.post("settings", method="TipAdapter")
    assert page.settled()["status"]["phase"] == "ready"


def test_a_change_ends_a_training_that_runs(open_page, pictures, monkeypatch):
    """Two classes change places while a method trains: no result of the first training is ever seen."""
    page = open_page()
    page.teach(pictures, TWO)
    (new,) = numbers(page, pictures["test"][0][:1])
    begun, seen, ended = threading.Event(), [], []
    real = learning.learn

    def learn(lesson, *others):
        if lesson.method == "CoOp":
            begun.set()
        try:
            return real(lesson, *others)
        except Replaced:
            ended.append(lesson.method)
            raise

    monkeypatch.setattr(learning, "learn", learn)
    publish = page.teacher._publish
    monkeypatch.setattr(page.teacher, "_publish", lambda result, of: (seen.append((result, of)), publish(result, of)))
    page.settled()
    page.post("settings", method="CoOp")  # 200 epochs
    assert begun.wait(30)
    page.post("settings", method="TipAdapter")
    assert page.settled()["labels"]["fit"]["method"] == "TipAdapter"
    assert ended == ["CoOp"]
    star, heart = list(page.session.classes)
    for round_ in range(4):  # changes from several sides while fits run
        threads = [
            threading.Thread(target=page.session.change_class, args=(star, f"star {round_}")),
            threading.Thread(target=page.session.change_class, args=(heart, f"heart {round_}")),
            threading.Thread(target=page.session.change_settings, args=(("TipAdapter", "GDA")[round_ % 2],)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        time.sleep(0.06)
    state = page.settled()
    assert state["labels"]["fit"]["classes"] == ["heart 3", "star 3"]
    assert labels_of(state) == {new: "star 3"}
    for result, of in seen:
        assert sorted(of.names) == list(result.fit.head.about.classnames)
        assert result.fit.key == of.key
        assert result.fit.head.about.method == of.method


def test_a_head_is_saved_and_used_without_its_pictures(open_page, pictures, tmp_path):
    page = open_page()
    page.teach(pictures, TWO)
    test = pictures["test"][0][:4]
    new = numbers(page, test)
    state = page.settled()
    answer = page.get("head")
    assert answer.headers["content-disposition"] == 'attachment; filename="head.safetensors"'
    head = tmp_path / "saved.safetensors"
    head.write_bytes(answer.content)
    loaded = FewShotClassifier.load(head, device="cpu", cache=tmp_path / "cache")
    assert loaded.predict(test).tolist() == list(labels_of(state).values())
    assert set(loaded.head_.about.support) == {f"{i}{end}.png" for i in range(3) for end in ("", "-2")}

    other = open_page()
    other.settled()
    answers = numbers(other, test)
    assert other.post("head", answer.content, {"name": "../my head.safetensors"}).status_code == 200
    there = other.settled()
    assert there["content"]["head"] == file_name("../my head.safetensors")
    assert list(labels_of(there).values()) == list(labels_of(state).values())
    assert len(answers) == len(new)
    fit = there["labels"]["fit"]
    assert (fit["pictures"], fit["classes"], fit["method"]) == (0, list(TWO), "SimNL")
    why = other.get(f"why/{fit['number']}/{answers[0]}").json()
    assert {one["picture"] for one in why["support"]} == {""}  # the names alone are in the file
    other.post("head/away", take=True)
    state = other.settled()
    assert [one["name"] for one in state["content"]["classes"]] == list(TWO)
    assert state["content"]["head"] is None
    assert not state["current"]


def test_a_head_from_the_command_line_with_its_support_images(open_page, pictures, tmp_path):
    train = Path(pictures.folder) / "train"
    classifier = FewShotClassifier("TipAdapter", backbone="tiny", device="cpu", cache=tmp_path / "cache")
    classifier.fit(*pictures["train"]).save(tmp_path / "head.safetensors")
    page = open_page(start=False, support=train)
    page.session.use_head(tmp_path, "of a run")  # the folder of a run
    page.teacher.start()
    (new,) = numbers(page, pictures["test"][0][:1])
    fit = page.settled()["labels"]["fit"]
    why = page.get(f"why/{fit['number']}/{new}").json()
    assert len(why["support"]) == 3
    for one in why["support"]:
        assert one["name"].startswith("dotted star/")
        assert page.get(one["picture"]).headers["content-type"] == "image/jpeg"
    assert page.get("support/999").status_code == 404
    assert page.get(f"why/{fit['number'] + 1}/{new}").status_code == 409
    assert page.get(f"why/{fit['number']}/999").status_code == 404


def test_a_head_that_is_none_is_told_by_its_name(open_page):
    page = open_page()
    page.post("head", b"not this", {"name": "photo.safetensors"})
    state = page.settled()
    assert state["status"]["phase"] == "problem"
    assert state["status"]["text"].startswith("photo.safetensors is not a trained head of this program")
    page.post("head/away")
    assert page.settled()["status"]["phase"] == "waiting"


def test_a_model_that_is_not_there(open_page, caplog):
    page = open_page(backbone="vit_b17")
    state = page.settled()
    assert state["status"]["phase"] == "failed"
    assert "Unknown backbone 'vit_b17'. Did you mean vit_b16?" in state["status"]["text"]
    assert "Did you mean vit_b16?" in caplog.text  # in the terminal, too
