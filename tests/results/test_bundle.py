"""Bundles: what is packed, that it is the same bytes, that ten kinds of damage are told, and tables from them."""

from __future__ import annotations

import contextlib
import io
import json
import stat
import zipfile

import pytest
from yacs.config import CfgNode as CN

from helpers.table_records import three, write
from simnl.results import bundle, repeat
from simnl.results.bundle import MANIFEST, BundleError, json_bytes
from simnl.results.tables import find_records
from simnl.sealed import seal


@pytest.fixture
def runs(tmp_path):
    """Three runs of one method, each with the files that a run leaves."""
    folder = write(tmp_path / "output", three(60.0))
    for place in folder.iterdir():
        (place / "run.json").write_text("{}")
        (place / "config.yaml").write_text("SEED: 1\n")
    (folder / "0000" / bundle.HEAD).write_bytes(b"weights")
    return folder


@pytest.fixture
def packed(runs, tmp_path):
    path = tmp_path / "results.zip"
    members, heads = bundle.run_members(sorted(runs.rglob("result.json")), [runs])
    bundle.write(path, members | {"draws/abc/shots_1-seed_1.json": json_bytes({"train": []})}, heads)
    return path


def test_a_bundle_holds_what_was_packed(runs, packed):
    found = bundle.read(packed)
    assert len(found.members) == 3 * 3 + 1
    assert found.members["runs/0001/config.yaml"] == b"SEED: 1\n" == found.config("runs/0001/result.json")
    assert list(found.manifest["heads"]) == ["runs/0000"]
    assert len(found.manifest["heads"]["runs/0000"]) == 64
    assert [record["seed"] for _, record in found.records()] == [1, 2, 3]


def test_the_same_runs_give_the_same_bytes(runs, packed, tmp_path):
    again = tmp_path / "again.zip"
    members, heads = bundle.run_members(sorted(runs.rglob("result.json"), reverse=True), [runs])
    bundle.write(again, {"draws/abc/shots_1-seed_1.json": json_bytes({"train": []})} | members, heads)
    assert again.read_bytes() == packed.read_bytes()


def test_tables_read_bundles_as_they_read_folders(runs, packed):
    def figures(records):
        return sorted((record["seed"], record["accuracy"]) for record in records)

    assert figures(find_records([packed])) == figures(find_records([runs]))
    assert len(find_records([packed, runs])) == 3  # each run once


def rewritten(path, change) -> None:
    """The archive with its members {name: (content, entry)} changed by a function."""
    with zipfile.ZipFile(path) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    entries = change(members) or []
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        for entry, content in entries:
            archive.writestr(entry, content)


def listed(packed: dict, **changes) -> None:
    """A manifest with some keys changed and a right check sum."""
    manifest = {key: value for key, value in json.loads(packed[MANIFEST]).items() if key != "sha256"}
    packed[MANIFEST] = json_bytes(seal({**manifest, **changes}))


def a_link(members):
    entry = zipfile.ZipInfo("runs/0000/head")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return [(entry, "/etc/passwd")]


DAMAGES = {
    "an edited record": (lambda m: m.update({"runs/0001/result.json": b"{}"}), "check sum of 'runs/0001/result.json'"),
    "a missing member": (lambda m: m.pop("runs/0002/config.yaml") and None, "'runs/0002/config.yaml' is missing"),
    "one too many": (lambda m: m.update({"runs/0009/result.json": b"{}"}), "'runs/0009/result.json' is not in its"),
    "no manifest": (lambda m: m.pop(MANIFEST) and None, "it has no manifest.json"),
    "an edited manifest": (lambda m: m.update({MANIFEST: m[MANIFEST].replace(b"0001", b"0007")}), "manifest.json is d"),
    "a manifest that is no json": (lambda m: m.update({MANIFEST: b"{"}), "manifest.json is damaged (is not valid json"),
    "a later format": (lambda m: listed(m, format=2), "its format is 2, and this program knows 1"),
    "no list of members": (lambda m: listed(m, members=[]), "does not list members"),
    "a way out": (lambda m: m.update({"runs/../../evil": b"x"}), "'runs/../../evil' leads out of the archive"),
    "an absolute path": (lambda m: m.update({"/etc/passwd": b"x"}), "'/etc/passwd' leads out of the archive"),
    "a foreign member": (lambda m: m.update({"setup.py": b"x"}), "'setup.py' is not in runs, splits, draws"),
    "a link": (a_link, "'runs/0000/head' is a link"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_bundle_is_told_and_not_used(packed, damage):
    change, says = DAMAGES[damage]
    rewritten(packed, change)
    with pytest.raises(BundleError) as caught:
        bundle.read(packed)
    assert says in str(caught.value)
    assert str(packed) in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(BundleError):
        find_records([packed])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice_is_told(packed):
    rewritten(packed, lambda members: [("runs/0000/run.json", b"{}")])
    with pytest.raises(BundleError, match=r"'runs/0000/run.json' twice"):
        bundle.read(packed)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_an_archive_that_was_cut_off_is_told(packed, share):
    content = packed.read_bytes()
    packed.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BundleError, match="cannot be read as a zip file"):
        bundle.read(packed)


def test_no_single_flipped_bit_changes_a_record(packed):
    content = packed.read_bytes()
    right = dict(bundle.read(packed).members)
    for position in range(0, len(content), max(1, len(content) // 150)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        packed.write_bytes(bytes(damaged))
        with contextlib.suppress(BundleError):
            assert dict(bundle.read(packed).members) == right


def test_a_member_that_claims_to_be_huge_is_not_unpacked(packed, monkeypatch):
    monkeypatch.setattr(bundle, "LARGEST", 100)
    with pytest.raises(BundleError, match="more than any can have"):
        bundle.read(packed)


def test_a_run_without_its_config_is_not_packed(runs):
    (runs / "0001" / "config.yaml").unlink()
    with pytest.raises(FileNotFoundError, match="nobody could repeat this run"):
        bundle.run_members(sorted(runs.rglob("result.json")), [runs])


def test_two_runs_of_one_place_are_refused(runs, tmp_path):
    other = write(tmp_path / "other", three(61.0))
    for place in other.iterdir():
        (place / "run.json").write_text("{}")
        (place / "config.yaml").write_text("SEED: 1\n")
    records = [*sorted(runs.rglob("result.json")), *sorted(other.rglob("result.json"))]
    with pytest.raises(ValueError, match="Two runs would lie at runs/0000"):
        bundle.run_members(records, [runs, other])


def test_runs_that_draw_the_same_images_have_their_data_read_once(monkeypatch):
    read = []
    monkeypatch.setattr(repeat, "image_lists", lambda cfg: read.append(cfg.SEED) or {f"draws/{cfg.SEED}": b"x"})
    shared = {"DATASET": CN({"NAME": "dtd", "NUM_SHOTS": 4}), "PRESET": "repaired", "PROTOCOL": "no-val"}
    configs = [CN({**shared, "SEED": seed, "METHOD": method}) for method in ("a", "b") for seed in (1, 2)]
    lists = list(repeat.all_image_lists(configs))
    assert read == [1, 2]
    assert [next(iter(one)) for one in lists] == ["draws/1", "draws/2", "draws/1", "draws/2"]


def test_a_foreign_archive_is_told(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("photo.jpg", b"x")
    path = tmp_path / "photos.zip"
    path.write_bytes(buffer.getvalue())
    with pytest.raises(BundleError, match=r"'photo.jpg' is not in runs, splits, draws"):
        find_records([path])
