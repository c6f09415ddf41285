"""The split reader: what it accepts, what it refuses and how it says so; new random splits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simnl.data.splits import Item, Split, make_split, read_split, write_split

FAST = settings(max_examples=60, deadline=None)


def valid() -> dict:
    """Two classes, each with one image per part."""
    return {part: [[f"cat/{part}.jpg", 0, "cat"], [f"dog/{part}.jpg", 1, "dog"]] for part in ("train", "val", "test")}


def read(folder: Path, content: object, **options) -> Split:
    path = folder / "split.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return read_split(path, **options)


def change(part: str, number: int, *entry: object) -> dict:
    content = valid()
    content[part][number] = list(entry)
    return content


def without(part: str) -> dict:
    content = valid()
    del content[part]
    return content


REFUSED = {
    "not json": ("{", "not valid json"),
    "cut short": (json.dumps(valid())[:-20], "not valid json"),
    "nested deeply": ("[" * 100_000, "not valid json|nested too deeply"),
    "key twice": ('{"train": [], "train": [], "val": [], "test": []}', "'train' occurs twice"),
    "a list": ([1, 2], "it is a list"),
    "null": (None, "it is null"),
    "part missing": (without("val"), "val missing"),
    "part unknown": ({**valid(), "dev": []}, "dev unknown"),
    "part no list": ({**valid(), "val": {"a": 1}}, "'val' must be a list"),
    "generated no object": ({**valid(), "generated": 1}, "'generated' must be an object"),
    "part empty": ({**valid(), "test": []}, "'test' is empty"),
    "entry no list": ({**valid(), "test": ["a.jpg"]}, r"test\[0\] must be \[path, label, class name\]"),
    "entry short": (change("train", 1, "dog/1.jpg", 1), r"train\[1\] must be"),
    "label as text": (change("train", 1, "dog/1.jpg", "1", "dog"), r"train\[1\] must be"),
    "label as fraction": (change("train", 1, "dog/1.jpg", 1.0, "dog"), r"train\[1\] must be"),
    "label as truth": (change("train", 1, "dog/1.jpg", True, "dog"), r"train\[1\] must be"),
    "name blank": (change("val", 0, "cat/1.jpg", 0, " "), r"val\[0\] must be"),
    "half a character": (change("val", 0, "cat/\ud800.jpg", 0, "cat"), r"val\[0\] must be"),
    "path twice in a part": (
        change("train", 1, "cat/train.jpg", 1, "dog"),
        r"train\[1\] and train\[0\] are the same",
    ),
    "path twice in two parts": (
        change("test", 0, "cat/val.jpg", 0, "cat"),
        r"test\[0\] and val\[0\] are the same",
    ),
    "path twice, spelled apart": (change("test", 0, "./cat//val.jpg", 0, "cat"), r"test\[0\] and val\[0\]"),
    "path absolute": (change("val", 1, "/etc/passwd", 1, "dog"), r"'/etc/passwd' of val\[1\]"),
    "path on a drive": (change("val", 1, "C:\\dog.jpg", 1, "dog"), r"of val\[1\]"),
    "path escapes": (change("val", 1, "../dog.jpg", 1, "dog"), r"'../dog.jpg' of val\[1\]"),
    "path escapes inside": (change("val", 1, "dog/../../x.jpg", 1, "dog"), r"of val\[1\]"),
    "path escapes, backslashes": (change("val", 1, "..\\dog.jpg", 1, "dog"), r"of val\[1\]"),
    "path a folder": (change("val", 1, "dog/", 1, "dog"), r"of val\[1\]"),
    "path empty": (change("val", 1, "", 1, "dog"), r"of val\[1\]"),
    "two names": (
        change("test", 1, "dog/1.jpg", 1, "wolf"),
        r"label 1 has two names, 'dog' .* and 'wolf' \(test\[1\]\)",
    ),
    "label gap": (
        {part: [[p, 2 * label, name] for p, label, name in items] for part, items in valid().items()},
        "1 missing, 2 .* beyond",
    ),
    "label negative": (change("train", 0, "cat/1.jpg", -1, "cat"), "-1"),
    "class without training image": (
        {**valid(), "train": [["cat/train.jpg", 0, "cat"]]},
        r"class 1 \('dog'\) has no training image",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, tmp_path):
    content, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, content)
    assert str(tmp_path / "split.json") in str(error.value)


def test_not_utf8(tmp_path):
    path = tmp_path / "split.json"
    path.write_bytes(json.dumps(valid()).encode("utf-16"))
    with pytest.raises(ValueError, match=r"split.json is not UTF-8"):
        read_split(path)


def test_byte_order_mark_and_unicode_are_fine(tmp_path):
    content = {part: [[f"café/{part}.jpg", 0, "café au lait"]] for part in valid()}
    split = read(tmp_path, "\ufeff" + json.dumps(content, ensure_ascii=False))
    assert split.classnames == ["café au lait"]


def test_validation_part_may_be_optional(tmp_path):
    for content in (without("val"), {**valid(), "val": []}):
        assert read(tmp_path, content, val_required=False).val is None


def test_hash_depends_on_content_only(tmp_path):
    content = valid()
    split = read(tmp_path, content)
    assert read(tmp_path, json.dumps(content, indent=4)).sha256 == split.sha256
    assert len(split.sha256) == 64
    others = [
        change("val", 0, "cat/other.jpg", 0, "cat"),
        {**content, "train": content["train"][::-1]},
        {part: [[p, label, name.upper()] for p, label, name in items] for part, items in content.items()},
    ]
    hashes = {read(tmp_path, other).sha256 for other in others}
    assert len(hashes | {split.sha256}) == 4


NAMES = st.text(st.characters(exclude_categories=("C",), exclude_characters="/\\"), min_size=1, max_size=8).filter(
    lambda text: text.strip() and ".." not in text and text.strip() != "."
)


@st.composite
def contents(draw) -> dict:
    """Any valid split: classes in any order, their images dealt to the parts at random."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    labels = draw(st.permutations(range(len(names))))
    parts = {}
    for part in ("train", "val", "test"):
        counts = draw(st.lists(st.integers(1, 6), min_size=len(names), max_size=len(names)))
        parts[part] = [
            [f"c{label}/{part}{number}.jpg", label, names[label]] for label in labels for number in range(counts[label])
        ]
    return parts


@FAST
@given(contents())
def test_any_valid_split_is_read_back(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("split")
    split = read(folder, content)
    for part, items in content.items():
        assert getattr(split, part) == [Item(*item) for item in items]
    write_split(folder / "again.json", replace(split, how={"seed": 1}))
    again = read_split(folder / "again.json")
    assert again.how == {"seed": 1}
    assert again.sha256 == split.sha256
    assert (split.origin, again.origin) == ("standard", "generated")


@FAST
@given(contents(), st.data())
def test_any_cut_file_is_refused(tmp_path_factory, content, data):
    text = json.dumps(content)
    with pytest.raises(ValueError, match="split.json"):
        read(tmp_path_factory.mktemp("split"), text[: data.draw(st.integers(0, len(text) - 1))])


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["train", "val", "test", "x"]), inner),
    max_leaves=12,
)


@FAST
@given(st.dictionaries(st.sampled_from(["train", "val", "test"]), ANYTHING) | ANYTHING)
def test_any_other_json_is_refused(tmp_path_factory, content):
    with pytest.raises(ValueError, match="split.json"):
        read(tmp_path_factory.mktemp("split"), content)


@FAST
@given(st.lists(st.integers(4, 40), min_size=1, max_size=4), st.integers(0, 9), st.randoms(use_true_random=False))
def test_new_split(counts, seed, shuffler):
    classes = [(f"c{label}", [f"c{label}/{n}.jpg" for n in range(count)]) for label, count in enumerate(counts)]
    split = make_split("here", classes, seed, 0.2, 0.3)
    shuffled = [(name, shuffler.sample(paths, len(paths))) for name, paths in classes]
    assert make_split("here", shuffled, seed, 0.2, 0.3).sha256 == split.sha256
    for label, (name, paths) in enumerate(classes):
        parts = [[item for item in part if item.label == label] for part in (split.train, split.val, split.test)]
        assert sorted(item.path for part in parts for item in part) == sorted(paths)
        assert {item.classname for part in parts for item in part} == {name}
        n = len(paths)
        assert [len(part) for part in parts] == [round(n / 2), round(n / 5), n - round(n / 2) - round(n / 5)]


def test_new_split_of_one_class_does_not_move_another():
    cats = ("cat", [f"cat/{n}.jpg" for n in range(10)])
    dogs = [("dog", [f"dog/{n}.jpg" for n in range(count)]) for count in (10, 11)]
    first, second = (make_split("here", [cats, dog], 1, 0.2, 0.3) for dog in dogs)
    assert [item for item in first.test if item.label == 0] == [item for item in second.test if item.label == 0]
    assert make_split("here", [cats], 2, 0.2, 0.3).train != make_split("here", [cats], 1, 0.2, 0.3).train


def test_new_split_of_too_few_images():
    with pytest.raises(ValueError, match=r"here: class 'cat' has only 2 image\(s\), so none is left for val"):
        make_split("here", [("cat", ["1.jpg", "2.jpg"])], 1, 0.2, 0.3)
    with pytest.raises(ValueError, match="no class"):
        make_split("here", [], 1, 0.2, 0.3)
    with pytest.raises(ValueError, match="VAL_FRACTION 0.7"):
        make_split("here", [], 1, 0.7, 0.3)
    assert make_split("here", [("cat", ["1.jpg", "2.jpg"])], 1, 0.0, 0.5).val is None


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("DescribableTextures", (2820, 1128, 1692)),
        ("Caltech101", (4128, 1649, 2465)),
        ("OxfordPets", (2944, 736, 3669)),
    ],
)
def test_real_splits(name, sizes, shared):
    split = read_split(shared / "real" / f"split_zhou_{name}.json")
    assert (len(split.train), len(split.val), len(split.test)) == sizes
    assert split.origin == "standard"
