"""Few-shot draws: real ones to the letter, their storage, and label noise."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simnl.data.draws import DrawSpec, DrawStore, draw
from simnl.data.splits import Split, read_split


# ---------------------------------------------------------------------------------- equal to CoOp's
@pytest.mark.parametrize(
    ("golden", "name"),
    [("dtd", "DescribableTextures"), ("caltech101", "Caltech101"), ("oxford_pets", "OxfordPets")],
)
def test_real_draws(golden, name, shared, sampler):
    split = read_split(shared / "real" / f"split_zhou_{name}.json")
    expected = json.loads((shared / "real" / f"fewshot_{golden}.json").read_text())["shots"]
    for key, parts in expected.items():
        shots, seed = (int(text.split("_")[1]) for text in key.split("-"))
        drawn = draw(sampler, split, DrawSpec(shots, seed))
        assert [item.path for item in drawn.train] == parts["train"], key
        assert [item.path for item in drawn.val] == parts["val"], key
    assert len(expected) == 15


@pytest.mark.parametrize("subset", ["all", "base", "new"])
def test_real_images(subset, shared, load):
    images = shared / "real" / "images"
    golden = json.loads((images / "dtd" / "fewshot_dtd10.json").read_text())
    for shots, seed in ((1, 1), (2, 2), (4, 3), (8, 1), (16, 2)):
        expected = golden[f"{subset}/shot_{shots}-seed_{seed}"]
        data = load("DescribableTextures", ROOT=images, NUM_SHOTS=shots, SEED=seed, SUBSAMPLE_CLASSES=subset)
        for part, datums in (("train", data.train_x), ("val", data.val)):
            found = [[d.impath.partition("/dtd/images/")[2], d.label] for d in datums]
            assert found == expected[part]
        assert len(data.test) == expected["n_test"]
        assert data.classnames == expected["classnames"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.sampled_from([None, 1, 6]),
    st.integers(1, 8),
    st.integers(0, 2**32),
)
def test_any_draw(sampler, small_split, per_class, val, shots, seed):
    split = small_split(tuple(per_class), val)
    random.seed(seed)
    state = random.getstate()
    drawn = draw(sampler, split, DrawSpec(shots, seed))
    assert random.getstate() == state
    assert draw(sampler, split, DrawSpec(shots, seed)) == drawn
    assert drawn.labels == [item.label for item in drawn.train]
    assert set(drawn.train) <= set(split.train)
    assert set(drawn.val) <= set(split.train if val is None else split.val) - set(drawn.train)
    for label, count in enumerate(per_class):
        chosen = [item for item in drawn.train if item.label == label]
        assert len(set(chosen)) == len(chosen) == min(shots, count)
        left = count - len(chosen) if val is None else val
        assert sum(item.label == label for item in drawn.val) == min(shots, 4, left)


def test_fewer_images_than_shots_are_all_taken_in_their_order(sampler, small_split):
    drawn = draw(sampler, small_split((3, 8)), DrawSpec(4, 1))
    assert [item.path for item in drawn.train[:3]] == ["c0/train0.jpg", "c0/train1.jpg", "c0/train2.jpg"]
    assert len(drawn.train) == 3 + 4


# ------------------------------------------------------------------------------------- stored draws
def stored(tmp_path, split: Split, spec: DrawSpec):
    return tmp_path / "draws" / "Some" / split.sha256[:12] / spec.file_name


def test_stored_draw_is_used(tmp_path, sampler, caplog, small_split):
    split, spec = small_split(), DrawSpec(2, 1)
    first = DrawStore(tmp_path, "Some", split).get(sampler, spec)
    path = stored(tmp_path, split, spec)
    content = json.loads(path.read_text())
    assert path.name == "shots_2-seed_1.json"
    assert content["split_sha256"] == split.sha256
    assert content["train"][0] == [first.train[0].path, 0]
    assert not any(text.startswith("/") for text, _ in content["train"])

    def refuse(*_, **__):
        raise AssertionError("drew again")

    assert DrawStore(tmp_path, "Some", split).get(refuse, spec) == first
    assert not caplog.records


def edit_header(content: dict, **changes) -> str:
    """A file whose checksum is right although its content belongs elsewhere."""
    content = {**content, **changes}
    del content["sha256"]
    checksum = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return json.dumps({**content, "sha256": checksum})


def swap_first_image(text: str) -> str:
    content = json.loads(text)
    drawn = {path for path, _ in content["train"]}
    content["train"][0][0] = next(path for n in range(8) if (path := f"c0/train{n}.jpg") not in drawn)
    return json.dumps(content)


DAMAGE = {
    "cut short": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "no json object": lambda text: "[1, 2]",
    "nested deeply": lambda text: "[" * 100_000,
    "edited, another image of the class": lambda text: swap_first_image(text),
    "edited, another class": lambda text: text.replace("c0/train", "c1/train", 1),
    "other schema": lambda text: edit_header(json.loads(text), schema=0),
    "other split": lambda text: edit_header(json.loads(text), split_sha256="0" * 64),
    "other shots": lambda text: edit_header(json.loads(text), shots=3),
    "other seed": lambda text: edit_header(json.loads(text), seed=2),
    "other noise": lambda text: edit_header(json.loads(text), noise={"p": 0.5}),
    "unknown image": lambda text: edit_header(json.loads(text), train=[["../secret.jpg", 0]]),
    "other label": lambda text: edit_header(json.loads(text), train=[["c0/train0.jpg", 1]]),
    "part missing": lambda text: edit_header({k: v for k, v in json.loads(text).items() if k != "val"}),
    "wrong rows": lambda text: edit_header(json.loads(text), train=[1, 2]),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_stale_or_damaged_draw_is_never_used(damage, tmp_path, sampler, caplog, small_split):
    split, spec = small_split(), DrawSpec(2, 1)
    store = DrawStore(tmp_path, "Some", split)
    expected = store.get(sampler, spec)
    path = stored(tmp_path, split, spec)
    good = path.read_text()
    path.write_text(DAMAGE[damage](good))
    assert store.get(sampler, spec) == expected
    assert str(path) in caplog.text
    assert path.read_text() == good


def test_draw_file_that_is_not_utf8(tmp_path, sampler, caplog, small_split):
    split, spec = small_split(), DrawSpec(2, 1)
    store = DrawStore(tmp_path, "Some", split)
    expected = store.get(sampler, spec)
    stored(tmp_path, split, spec).write_bytes(b"\xff\xfe{}")
    assert store.get(sampler, spec) == expected
    assert "not UTF-8" in caplog.text


def test_changed_split_draws_anew(build, load, store):
    built = build("Food101")
    first = load("Food101")
    path = built.folder / "split_zhou_Food101.json"
    content = json.loads(path.read_text())
    content["train"] = content["train"][::-1]
    path.write_text(json.dumps(content))
    second = load("Food101")
    assert first.split_hash != second.split_hash
    assert [d.impath for d in first.train_x] != [d.impath for d in second.train_x]
    assert len(list(store.rglob("shots_2-seed_1.json"))) == 2


def test_moved_data_root(build, load, root):
    build("Food101")
    first = load("Food101")
    moved = root.with_name("moved")
    root.rename(moved)
    second = load("Food101", ROOT=moved)
    assert [d.impath.replace(str(moved), str(root)) for d in second.train_x] == [d.impath for d in first.train_x]


def test_store_that_cannot_be_written_is_no_obstacle(tmp_path, sampler, caplog, small_split):
    (tmp_path / "file").write_text("")
    drawn = DrawStore(tmp_path / "file", "Some", small_split()).get(sampler, DrawSpec(2, 1))
    assert drawn == draw(sampler, small_split(), DrawSpec(2, 1))
    assert "could not be stored" in caplog.text


def _draw_in_process(folder, barrier, sampler, split, results):
    barrier.wait()
    results.put(DrawStore(folder, "Some", split).get(sampler, DrawSpec(2, 1)))


def test_processes_drawing_at_once(tmp_path, sampler, small_split):
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(4), context.Queue()
    processes = [
        context.Process(target=_draw_in_process, args=(tmp_path, barrier, sampler, small_split(), results))
        for _ in range(4)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=30) for _ in processes]
    for process in processes:
        process.join(30)
    assert all(result == draw(sampler, small_split(), DrawSpec(2, 1)) for result in found)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["shots_2-seed_1.json"]
