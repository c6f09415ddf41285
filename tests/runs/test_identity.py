"""Templates in text files; and that a run's name follows the content of the files its config names, not their place."""

from __future__ import annotations

import json
import shutil

import pytest

from helpers.images import make_images
from simnl.clip.prompt_files import read_templates
from simnl.locations import CONFIGS
from simnl.runs import identity
from simnl.runs.config import ConfigError, assemble
from simnl.runs.identity import RunIdentity, config_hash
from simnl.runs.record import FILE as RECORD
from simnl.runs.record import read_record
from simnl.runs.stored_config import IDENTITY
from simnl.studies.cells import Plan, Setup, Variant, is_finished, plan_cells
from simnl.studies.executor import attempt

# Names of runs as they were when these lines were written: a run that is done must stay done. A hash changes only with
# what can change figures, e.g. a new key of that kind; a key that changes none belongs to `NOT_HASHED`.
RECORDED = {
    ("SimNL", "tiny", "shapes"): ("68af117a", ()),
    ("SimNL", "rn50", "imagenet"): ("f6ff2e1b", ("PRESET", "official", "PROTOCOL", "full-val")),
    ("TipAdapterF", "vit_b16", "dtd"): ("4ca8a851", ("DATASET.NUM_SHOTS", "4")),
    ("ZeroshotCLIP", "tiny", "shapes_noise"): ("b3899633", ()),
}

BROKEN = {
    "no braces": ("a photo of a cat.\n", r"line 1: .* has no \{\}"),
    "twice in a line": ("\n{} and {}\n", r"line 2: .* exactly once"),
    "named": ("a {name}.\n", r"line 1: .* no other brace"),
    "single brace": ("a {}.\na {\n", r"line 2: .* no other brace"),
    "double": ("a {}.\nb {}.\n a {}. \n", r"line 3: the template 'a \{\}.' is there twice"),
    "empty": ("\n  \n", "is empty. It must hold one template per line"),
}


@pytest.fixture
def mine(tmp_path):
    """Two class folders with ten images each."""
    for number, name in enumerate(("cat", "dog")):
        make_images(tmp_path / "data" / "mine" / name, 10, size=20 + number)
    return tmp_path / "data" / "mine"


def config(folder, *options):
    settings = {"TRAINER.NAME": "SimNL", "DATASET.FOLDER": str(folder)}
    files = [CONFIGS / "datasets" / "imagefolder.yaml", CONFIGS / "trainers" / "SimNL.yaml"]
    return assemble(files, options, settings)


def test_read_templates(tmp_path):
    path = tmp_path / "t.txt"
    path.write_bytes("\ufeff a photo of a {}.\r\n\r\nein Bild: {}, größer.\n".encode())
    assert read_templates(path) == ["a photo of a {}.", "ein Bild: {}, größer."]
    path.write_bytes("größer: {}".encode("latin-1"))
    with pytest.raises(ValueError, match=r"t.txt is not UTF-8 text \(byte 2\)"):
        read_templates(path)
    with pytest.raises(FileNotFoundError, match="no file .*absent.txt"):
        read_templates(tmp_path / "absent.txt")


@pytest.mark.parametrize("case", BROKEN)
def test_broken_templates(case, mine):
    text, message = BROKEN[case]
    (mine / "templates.txt").write_text(text)
    with pytest.raises(ConfigError, match=message) as error:
        config(mine)
    assert str(mine / "templates.txt") in str(error.value)


def test_templates_of_the_folder_of_a_file_and_of_the_command_line(mine, tmp_path):
    standard = config(mine).PROMPTS
    (mine / "templates.txt").write_text("an X-ray of {}.\na scan of {}.\n")
    found = config(mine).PROMPTS
    assert found.POSITIVE == ["an X-ray of {}.", "a scan of {}."]
    assert found.NEGATIVE == standard.NEGATIVE
    (mine / "negative_templates.txt").write_text("no {}.\n")
    assert config(mine).PROMPTS.NEGATIVE == ["no {}."]
    assert config(mine, "PROMPTS.POSITIVE", "['my {}.']").PROMPTS.POSITIVE == ["my {}."]
    other = tmp_path / "other.txt"
    other.write_text("the {}.\n")
    assert config(mine, "PROMPTS.POSITIVE_FILE", str(other)).PROMPTS.POSITIVE == ["the {}."]
    with pytest.raises(ConfigError, match=r"PROMPTS.POSITIVE and PROMPTS.POSITIVE_FILE both give templates"):
        config(mine, "PROMPTS.POSITIVE", "['my {}.']", "PROMPTS.POSITIVE_FILE", str(other))
    with pytest.raises(ConfigError, match=r"PROMPTS.NEGATIVE_FILE: there is no file .*absent.txt"):
        config(mine, "PROMPTS.NEGATIVE_FILE", str(tmp_path / "absent.txt"))
    dtd = assemble([CONFIGS / "datasets" / "dtd.yaml"], ["PROMPTS.POSITIVE_FILE", str(other)])
    assert dtd.PROMPTS.POSITIVE == ["the {}."]


def test_hash_follows_content_not_place(mine, tmp_path):
    copy = tmp_path / "elsewhere" / "mine"
    hashes = [config_hash(config(mine))]
    changes = {
        "templates.txt": "a {}.\n",
        "negative_templates.txt": "no {}.\n",
        "classnames.txt": "cat, Katze\ndog, Hund\n",
        "split.json": json.dumps({part: [[f"cat/00{n}.png", 0, "cat"]] for n, part in enumerate(("train", "test"))}),
    }
    for name, text in changes.items():
        (mine / name).write_text(text)
        hashes.append(config_hash(config(mine)))
    make_images(mine / "cat", 11, size=20)
    hashes.append(config_hash(config(mine)))
    assert len(set(hashes)) == len(hashes)
    shutil.copytree(mine, copy)
    assert config_hash(config(copy)) == hashes[-1]


@pytest.mark.parametrize(
    ("key", "text", "other"),
    [
        ("DATASET.SPLIT_FILE", "{}", "[]"),
        ("DATASET.CLASSNAMES_FILE", "cat, a", "cat, b"),
        ("PROMPTS.POSITIVE_FILE", "a {}", "b {}"),
        ("PROMPTS.NEGATIVE_FILE", "a {}", "b {}"),
        ("PROMPTS.CUPL", "{}", "[]"),
    ],
)
def test_hash_of_a_named_file(mine, tmp_path, key, text, other):
    first, second = tmp_path / "first", tmp_path / "second"
    for path in (first, second):
        path.write_text(text)
    same = [config_hash(config(mine, key, str(path))) for path in (first, second)]
    second.write_text(other)
    assert same[0] == same[1] != config_hash(config(mine, key, str(second)))


def test_hash_does_not_change_when_the_split_is_made(mine, tmp_path):
    from dassl.data.datasets import DATASET_REGISTRY

    before = config(mine, "STORE.ROOT", str(tmp_path / "store"), "DATASET.NUM_SHOTS", "2", "SEED", "1")
    name = config_hash(before)
    DATASET_REGISTRY.get("ImageFolder")(before)
    assert (mine / "split.json").is_file()
    assert config_hash(before) == name


def test_hash_does_not_change_when_the_split_is_made_where_a_key_says(mine, tmp_path):
    from dassl.data.datasets import DATASET_REGISTRY

    split = tmp_path / "made.json"
    options = ["STORE.ROOT", str(tmp_path / "store"), "DATASET.NUM_SHOTS", "2", "SEED", "1"]
    cfg = config(mine, *options, "DATASET.SPLIT_FILE", str(split))
    name = config_hash(cfg)
    DATASET_REGISTRY.get("ImageFolder")(cfg)
    assert split.is_file()
    assert config_hash(cfg) == name
    split.write_text(split.read_text().replace('"generated"', '"other"'))
    assert config_hash(cfg) != name  # somebody's own


def test_a_cupl_file_that_comes_later_makes_another_run(tmp_path):
    cfg = assemble([CONFIGS / "datasets" / "dtd.yaml"], ["DATASET.ROOT", str(tmp_path), "TRAINER.NAME", "SimNL"])
    without = config_hash(cfg)
    (tmp_path / "gpt3_prompts").mkdir()
    (tmp_path / "gpt3_prompts" / "CuPL_prompts_dtd.json").write_text("{}")
    assert config_hash(cfg) != without


LABEL_FILES = {
    "eurosat": ["eurosat/split_zhou_EuroSAT.json"],
    "dtd": ["dtd/split_zhou_DescribableTextures.json"],
    "fgvc_aircraft": [
        "fgvc_aircraft/variants.txt",
        *(f"fgvc_aircraft/images_variant_{part}.txt" for part in ("train", "val", "test")),
    ],
    "imagenet": ["imagenet/classnames.txt"],
    "imagenet_a": ["imagenet-adversarial/classnames.txt", "imagenet/classnames.txt"],
    "imagenetv2": ["imagenetv2/classnames.txt", "imagenet/classnames.txt"],
}


@pytest.mark.parametrize("dataset", LABEL_FILES)
def test_hash_follows_the_data_set_s_own_label_files(tmp_path, dataset):
    """Wherever the data root is; other files of the data set change nothing."""

    def name(root, *options):
        file = CONFIGS / "datasets" / f"{dataset}.yaml"
        return config_hash(assemble([file], [*options], {"DATASET.ROOT": str(root), "TRAINER.NAME": "SimNL"}))

    root = tmp_path / "data"
    absent = name(root)  # the run itself says what is missing
    found = [absent]
    for file in LABEL_FILES[dataset]:
        for text in ("one", "two!"):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            (root / file).write_text(text)
            found.append(name(root))
    assert len(set(found)) == len(found)
    shutil.copytree(root, tmp_path / "moved")
    assert name(tmp_path / "moved") == found[-1]
    own = tmp_path / "moved" / LABEL_FILES[dataset][0].split("/")[0]
    assert name(own) == found[-1]  # DATASET.ROOT may be the data set's folder
    (own / "images").mkdir()
    (own / "README.txt").write_text("more")
    assert name(tmp_path / "moved") == found[-1]


def test_hash_leaves_out_the_standard_split_where_another_is_given(tmp_path):
    mine, standard = tmp_path / "mine.json", tmp_path / "dtd" / "split_zhou_DescribableTextures.json"
    mine.write_text("{}")
    options = ["DATASET.ROOT", str(tmp_path), "DATASET.SPLIT_FILE", str(mine), "TRAINER.NAME", "SimNL"]
    cfg = assemble([CONFIGS / "datasets" / "dtd.yaml"], options)
    before = config_hash(cfg)
    standard.parent.mkdir()
    standard.write_text("{}")
    assert config_hash(cfg) == before


def test_every_data_set_says_what_its_labels_are_read_from():
    """From files that exist by these names in the layouts; rendered and listed ones have none."""
    from dassl.data.datasets import DATASET_REGISTRY

    found = {}
    for path in (CONFIGS / "datasets").glob("*.yaml"):
        cfg = assemble([path])
        assert cfg.DATASET.NAME in DATASET_REGISTRY.registered_names()
        kind = DATASET_REGISTRY.get(cfg.DATASET.NAME)
        found[path.stem] = kind.label_files or kind.split_file
    without = {name for name, files in found.items() if not files}
    assert without == {"shapes", "shapes_inverted", "shapes_noise", "shapes_outline"}


@pytest.mark.parametrize("names", RECORDED, ids="-".join)
def test_hashes_are_those_that_were_recorded(names, tmp_path):
    method, backbone, dataset = names
    expected, options = RECORDED[names]
    folders = {"backbones": backbone, "datasets": dataset, "trainers": method}
    files = [CONFIGS / folder / f"{name}.yaml" for folder, name in folders.items()]
    settings = {"TRAINER.NAME": method, "DATASET.CONFIG": dataset, "DATASET.ROOT": str(tmp_path)}
    assert config_hash(assemble(files, options, settings)) == expected


def test_a_folder_follows_from_the_identity(tmp_path):
    one = RunIdentity("SimNL", "dtd", "rn50", 16, "0123abcd", 1)
    assert one.folder(tmp_path) == tmp_path / "dtd" / "SimNL" / "rn50_16shots" / "0123abcd" / "seed1"
    assert one.with_seed(2).folder(tmp_path) == one.folder(tmp_path).with_name("seed2")


def test_the_hash_is_computed_once_for_all_seeds_from_the_command_line_to_the_records(mine, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(identity, "config_hash", lambda cfg: asked.append(cfg) or config_hash(cfg))
    options = ("DATASET.FOLDER", str(mine), "DATALOADER.NUM_WORKERS", "0")
    setup = Setup(output=str(tmp_path / "output"), cache=str(tmp_path / "cache"), backbone="tiny")
    cells = plan_cells(setup, Plan("ZeroshotCLIP", "imagefolder", 1, Variant(options=options)), [1, 2])
    assert [attempt(cell)["state"] for cell in cells] == ["done", "done"]
    assert all(map(is_finished, cells))
    assert len(asked) == 1
    for cell in cells:
        folder = cell.identity.folder(setup.output)
        known = json.loads((folder / IDENTITY).read_text()), read_record(folder / RECORD)
        assert {(found["config_hash"], found["seed"]) for found in known} == {(config_hash(cell.cfg), cell.seed)}


def test_the_hash_follows_the_pairs_of_confusable_classes_not_their_place(mine, tmp_path):
    def hash_with(path):
        return config_hash(config(mine, "DATASET.LABEL_NOISE", "0.5", "DATASET.NOISE_PAIRS", str(path)))

    pairs = tmp_path / "pairs.json"
    pairs.write_text('{"cat": "dog", "dog": "cat"}')
    before = hash_with(pairs)
    assert hash_with(shutil.copy(pairs, tmp_path / "moved.json")) == before
    pairs.write_text('{"cat": "dog", "dog": "owl"}')
    assert hash_with(pairs) != before
