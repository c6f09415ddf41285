"""Few-shot draws, `Datum`, and the base class of data sets."""

from __future__ import annotations

import io
import json
import pickle
import random
import tarfile
import zipfile
from collections import Counter
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dassl.config import get_cfg_default
from dassl.data.datasets import DatasetBase, Datum, build_dataset
from dassl.utils import set_random_seed
from dassl.utils.archive import extract_archive

REAL = Path(__file__).resolve().parents[2] / ".." / "shared" / "real"
SPLITS = {"dtd": "DescribableTextures", "caltech101": "Caltech101", "oxford_pets": "OxfordPets"}


class Item:
    """Has a label, which is all that a draw looks at."""

    def __init__(self, label: int, name: str):
        self.label = label
        self.name = name


class Sampler(DatasetBase):
    """Draws without being a data set."""

    def __init__(self):
        pass


def draw(source, num_shots, repeat=False):
    return [i.name for i in Sampler().generate_fewshot_dataset(source, num_shots=num_shots, repeat=repeat)]


@pytest.mark.parametrize("case", list(product((1, 4, 8), (False, True))))
def test_toy_draw_is_upstreams(engine_goldens, case):
    """Three classes of 5, 3 and 8 images, in the order 2, 0, 1: too few, enough, exactly as many."""
    source = [Item(label, f"{label}_{i}") for label, n in ((2, 5), (0, 3), (1, 8)) for i in range(n)]
    num_shots, repeat = case
    set_random_seed(7)
    assert draw(source, num_shots, repeat) == engine_goldens["fewshot_toy"][f"k{num_shots}_repeat{repeat}_seed7"]


@pytest.mark.parametrize("name", SPLITS)
def test_real_draws_are_the_published_ones(name):
    """All shots and seeds of a real split: order included, training draw first, then validation."""
    file = REAL / f"fewshot_{name}.json"
    if not file.exists():
        pytest.skip("real splits are not there")
    split = json.loads((REAL / f"split_zhou_{SPLITS[name]}.json").read_text())
    train, val = ([Item(label, path) for path, label, _ in split[key]] for key in ("train", "val"))
    published = json.loads(file.read_text())["shots"]
    assert len(published) == 15
    for key, expected in published.items():
        num_shots, seed = (int(part.split("_")[1]) for part in key.split("-"))
        set_random_seed(seed)
        assert draw(train, num_shots) == expected["train"], key
        assert draw(val, min(num_shots, 4)) == expected["val"], key


@settings(max_examples=60, deadline=None)
@given(
    labels=st.lists(st.integers(0, 5), min_size=1, max_size=40),
    num_shots=st.integers(1, 6),
    repeat=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_draw_properties(labels, num_shots, repeat, seed):
    source = [Item(label, str(i)) for i, label in enumerate(labels)]
    random.seed(seed)
    drawn = Sampler().generate_fewshot_dataset(source, num_shots=num_shots, repeat=repeat)
    available, counts = Counter(labels), Counter(i.label for i in drawn)
    for label, n in available.items():
        assert counts[label] == (num_shots if repeat or n >= num_shots else n)
    first_seen = list(dict.fromkeys(labels))
    assert [i.label for i in drawn] == [label for label in first_seen for _ in range(counts[label])]
    for label in available:
        names = [i.name for i in drawn if i.label == label]
        if available[label] >= num_shots:
            assert len(set(names)) == len(names)
        elif not repeat:
            assert names == [i.name for i in source if i.label == label]
    random.seed(seed)
    again = Sampler().generate_fewshot_dataset(source, num_shots=num_shots, repeat=repeat)
    assert [i.name for i in again] == [i.name for i in drawn]


def test_several_sources_are_drawn_in_turn(capsys):
    first, second = ([Item(i % 2, f"{s}{i}") for i in range(8)] for s in "ab")
    random.seed(3)
    expected = [draw(first, 2), draw(second, 2)]
    capsys.readouterr()
    random.seed(3)
    both = Sampler().generate_fewshot_dataset(first, second, num_shots=2)
    assert [[i.name for i in part] for part in both] == expected
    assert capsys.readouterr().out == "Creating a 2-shot dataset\n"


def test_no_draw_below_one_shot(capsys):
    source, state = [Item(0, "a")], random.getstate()
    assert Sampler().generate_fewshot_dataset(source, num_shots=-1) is source
    assert Sampler().generate_fewshot_dataset(source, source, num_shots=0) == (source, source)
    assert random.getstate() == state
    assert capsys.readouterr().out == ""


def test_datum(item):
    datum = item(3, 1, "a.png", "banded")
    assert (datum.label, datum.domain, datum.classname) == (3, 1, "banded")
    assert datum.impath.endswith("a.png")
    with pytest.raises(AttributeError):
        datum.label = 4
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png.*DATASET\.ROOT"):
        Datum("nowhere.png")
    with pytest.raises(TypeError, match="Path"):
        Datum(Path(datum.impath))


def test_datum_pickles_as_upstreams(item):
    """The same class path and attributes, so upstream reads such a file; the image may be gone by then."""
    datum = item(3, 1, "a.png", "banded")
    data = pickle.dumps(datum)
    assert b"dassl.data.datasets.base_dataset" in data
    assert vars(datum) == {"_impath": datum.impath, "_label": 3, "_domain": 1, "_classname": "banded"}
    Path(datum.impath).unlink()
    assert pickle.loads(data).label == 3


def test_dataset_base(item):
    train = [
        item(2, name="a", classname="two"),
        item(0, name="b", classname="zero"),
        item(2, name="c", classname="zwei"),
    ]
    data = DatasetBase(train_x=train, val=train[:1], test=train[1:])
    assert (data.train_x, data.train_u, data.val, data.test) == (train, None, train[:1], train[1:])
    assert data.num_classes == 3  # the highest label + 1, though label 1 has no image
    assert data.lab2cname == {0: "zero", 2: "two"}
    assert data.classnames == ["zero", "two"]
    with pytest.raises(ValueError, match="train_x"):
        DatasetBase(train_x=[], test=train)


def test_grouping_keeps_the_order(item):
    source = [item(label, domain, f"{i}") for i, (label, domain) in enumerate([(5, 1), (2, 0), (5, 0)])]
    data = DatasetBase(train_x=source)
    assert list(data.split_dataset_by_label(source).items()) == [
        (5, [source[0], source[2]]),
        (2, [source[1]]),
    ]
    assert list(data.split_dataset_by_domain(source)) == [1, 0]


def test_domains_are_checked(item):
    data = DatasetBase(train_x=[item()])
    data.domains = ["art", "photo"]
    data.check_input_domains(["art"], ["photo"])
    with pytest.raises(ValueError, match="phoot.*photo"):
        data.check_input_domains(["art"], ["phoot"])


def test_unknown_dataset_proposes_the_nearest():
    cfg = get_cfg_default()
    cfg.DATASET.NAME = "ToolboxPicture"
    with pytest.raises(ValueError, match=r"do you mean \[ToolboxPictures\]"):
        build_dataset(cfg)


def archive(path: Path, name: str, link: str | None = None) -> None:
    """An archive of one member, a text file or a link."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr(name, "text")
        return
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as file:
        info = tarfile.TarInfo(name)
        if link is not None:
            info.type, info.linkname = tarfile.SYMTYPE, link
            file.addfile(info)
            info = tarfile.TarInfo(f"{name}/file")
        info.size = 4
        file.addfile(info, io.BytesIO(b"text"))


@pytest.mark.parametrize("name", ["data.zip", "data.tar", "data.tar.gz"])
def test_download_is_extracted_next_to_it(item, tmp_path, name):
    archive(tmp_path / name, "images/a.txt")
    target = tmp_path / "root" / "set" / name
    DatasetBase(train_x=[item()]).download_data((tmp_path / name).as_uri(), str(target), from_gdrive=False)
    assert (target.parent / "images/a.txt").read_text() == "text"


@pytest.mark.parametrize(
    ("name", "member", "link"),
    [
        ("data.zip", "../evil", None),
        ("data.zip", "/tmp/evil", None),
        ("data.tar", "../evil", None),
        ("data.tar", "a/../../evil", None),
        ("data.tar.gz", "/tmp/evil", None),
        ("data.tar", "link", ".."),
        ("data.tar", "link", "/tmp"),
    ],
)
def test_archives_cannot_write_elsewhere(item, tmp_path, name, member, link):
    archive(tmp_path / name, member, link)
    target = tmp_path / "root" / name
    with pytest.raises(ValueError, match="refused"):
        DatasetBase(train_x=[item()]).download_data((tmp_path / name).as_uri(), str(target), from_gdrive=False)
    assert not list(tmp_path.rglob("evil"))
    assert not list(tmp_path.rglob("file"))
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.zip", b"<html>"),
        ("a.tar.gz", b"<html>"),
        ("a.tar.xz", b"\xfd7zXZ\x00" + bytes(99)),
        ("a.tar", b""),
        ("a.zip", None),
    ],
)
def test_damaged_archives_are_named_and_nothing_is_kept(tmp_path, name, content):
    path = tmp_path / name
    if content is None:  # encrypted, by its flags
        archive(path, "a.txt")
        whole = path.read_bytes()
        content = whole[:6] + b"\1" + whole[7:].replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}.*get it anew"):
        extract_archive(str(path), str(tmp_path / "root"))
    assert list((tmp_path / "root").iterdir()) == []


def test_links_are_refused_where_python_cannot_check_them(item, tmp_path, monkeypatch):
    monkeypatch.delattr(tarfile, "data_filter")
    archive(tmp_path / "good.tar", "a.txt")
    archive(tmp_path / "bad.tar", "link", "..")
    data = DatasetBase(train_x=[item()])
    with pytest.raises(ValueError, match="link"):
        data.download_data((tmp_path / "bad.tar").as_uri(), str(tmp_path / "root/bad.tar"), from_gdrive=False)
    data.download_data((tmp_path / "good.tar").as_uri(), str(tmp_path / "root/good.tar"), from_gdrive=False)
    assert (tmp_path / "root/a.txt").exists()
