"""Layout ablation: the marks of the study's own cells, and differences to the full method computed independently."""

from __future__ import annotations

import pytest
import table as tool
from scipy import stats as scipy_stats

from helpers.table_records import csv_rows, record, three, write
from simnl.locations import CONFIGS
from simnl.results.tables import Request, build, find_records, render_tables
from simnl.runs.config import assemble
from simnl.runs.identity import config_hash
from simnl.studies.cells import Plan, Setup
from simnl.studies.definitions import STUDIES

ADAPTERS = ("positive-text", "positive-cache", "negative-text", "negative-cache")
WEIGHTS = ("positive weights", "negative weights")
PARTS = (*ADAPTERS, *WEIGHTS, "re-ranking", "consistency", "Eq. 18", "templates", "CuPL")
NODE = "TRAINER.SIMNL."
NO_RERANK = {f"{NODE}RERANK_WEIGHT": 0.0}
NO_CUPL = {"PROMPTS.CUPL": ""}
# Every variant of the study, and the parts in which it is not as the full method, whose Eq. 18 alone is off.
VARIANTS = {
    "full": (),
    **{f"{name} adapter frozen": (name,) for name in ADAPTERS},
    "no adapter learns": ADAPTERS,
    "no reweighting": WEIGHTS,
    "no re-ranking loss": ("re-ranking",),
    "no consistency loss": ("consistency",),
    "cross-entropy alone": ("re-ranking", "consistency"),
    "with the negative loss, Eq. 18": ("Eq. 18",),
    "template prompts alone": ("CuPL",),
    "CuPL prompts alone": ("templates",),
}


def show(folder, records, fmt="csv", **request):
    return render_tables(build("ablation", find_records([write(folder, records)]), Request(**request)), fmt)


def runs(accuracies: dict[int, float], options: dict | None = None, **more) -> list[dict]:
    options = options or {}
    prompts = ["negative", "template", *([] if options.get("PROMPTS.CUPL") == "" else ["cupl"])]
    return [
        record(seed=seed, accuracy=accuracy, **{"options": options, "prompts": prompts, **more})
        for seed, accuracy in accuracies.items()
    ]


def expected(name: str) -> dict[str, str]:
    return {part: str((part == "Eq. 18") == (part in VARIANTS[name])) for part in PARTS}


def study_records(*options: str) -> dict[str, list[dict]]:
    """Records of three seeds with the options and config hashes that the study's runs have, by variant."""
    files = [CONFIGS / "datasets" / "shapes.yaml", CONFIGS / "trainers" / "SimNL.yaml"]
    made = {}
    for number, variant in enumerate(STUDIES["ablation"].variants(Setup(), Plan("SimNL", "shapes", 16))):
        cfg = assemble(files, [*options, *variant.options], {"TRAINER.NAME": "SimNL"})
        accuracies = {seed: 60.0 + number / 7 + (seed - 2) * (1 + number % 3) for seed in (1, 2, 3)}
        made[variant.name] = runs(accuracies, dict(cfg.OPTIONS), dataset="shapes", config_hash=config_hash(cfg))
    return made


@pytest.mark.parametrize("options", [(), ("OPTIM.MAX_EPOCH", "3", f"{NODE}RERANK_SCALE", "2.0")])
def test_every_variant_of_the_study_is_a_row_with_its_marks(tmp_path, options):
    made = study_records(*options)
    rows = csv_rows(show(tmp_path / "records", [r for of_variant in made.values() for r in of_variant]))
    assert STUDIES["ablation"].layout == "ablation"
    assert set(made) == set(VARIANTS)
    assert len(rows) == len(VARIANTS)
    full = [r["accuracy"] for r in made["full"]]
    for name, records in made.items():
        (row,) = [row for row in rows if {part: row[part] for part in PARTS} == expected(name)]
        accuracies = [r["accuracy"] for r in records]
        assert float(row["accuracy"]) == pytest.approx(sum(accuracies) / 3)
        assert row["full"] == str(name == "full")
        if name != "full":
            mean = sum(a - b for a, b in zip(accuracies, full, strict=True)) / 3
            assert float(row["difference"]) == pytest.approx(mean)
    text = show(tmp_path / "records", [], "terminal", ci="normal")
    assert ("All runs with OPTIM.MAX_EPOCH=3, RERANK_SCALE=2.0." in text) == bool(options)


def test_differences_are_over_common_draws(tmp_path):
    full, other = {1: 60.0, 2: 62.5, 3: 61.0, 4: 90.0}, {1: 58.0, 2: 62.0, 3: 57.5, 5: 10.0}
    records = runs(full) + runs(other, NO_RERANK) + runs({6: 0.0}, NO_RERANK, split_hash="t")
    rows = {row["row"]: row for row in csv_rows(show(tmp_path, records)) if row["n"] == "4"}
    row = rows["SimNL (without re-ranking; config " + records[-1]["config_hash"] + ", split s)"]
    half = scipy_stats.ttest_rel([58.0, 62.0, 57.5], [60.0, 62.5, 61.0]).confidence_interval(0.95)
    assert float(row["accuracy"]) == pytest.approx((58 + 62 + 57.5 + 10) / 4)
    assert float(row["difference"]) == pytest.approx(-2)
    assert float(row["difference_ci95"]) == pytest.approx((half.high - half.low) / 2)
    assert row["difference_n"] == "3"
    assert rows["SimNL"]["difference"] == ""
    assert "-2.00 ± 3.73 (n=3)" in show(tmp_path / "more", records, "markdown")


def test_a_pair_has_the_same_split_and_the_full_method_one_config(tmp_path):
    records = runs({1: 60.0, 2: 61.0}) + runs({1: 50.0, 2: 50.0}, NO_RERANK, split_hash="other")
    (row,) = [row for row in csv_rows(show(tmp_path / "split", records)) if row["full"] == "False"]
    assert (row["difference"], row["difference_n"]) == ("", "0")
    two = [*runs({1: 60.0}, config_hash="a"), *runs({2: 60.0}, config_hash="b"), *runs({1: 50.0}, NO_RERANK)]
    text = show(tmp_path / "configs", two, "markdown")
    assert "Difference: none. SimNL has runs of two configs on dtd with 16 shots" in text
    rows = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| SimNL")]
    assert rows == ["SimNL (config a, split s)", "SimNL (config b, split s)", "SimNL (without re-ranking)"]
    assert "-10.00" not in text


def test_settings_of_the_full_method_are_shared_by_its_rows(tmp_path):
    """A CuPL file of one's own, and a loss of another weight: what switches the part off belongs to both."""
    file, heavy = {"PROMPTS.CUPL": "mine.json"}, {f"{NODE}RERANK_WEIGHT": 2.0}
    records = runs({1: 60.0, 2: 61.0}, file) + runs({1: 59.0, 2: 59.0}, {**file, **NO_RERANK})
    records += runs({1: 58.0, 2: 57.0}, NO_CUPL)
    records += runs({1: 70.0, 2: 71.0}, heavy) + runs({1: 69.0, 2: 69.0}, NO_RERANK)
    alone = runs({1: 40.0, 2: 41.0}, {f"{NODE}ALPHA": 2.0, "SEARCH.ENABLED": False})
    rows = csv_rows(show(tmp_path, records + alone))
    found = sorted((row["full"], row["row"], row["accuracy"], row["difference"]) for row in rows)
    assert found == [
        ("False", "SimNL (without CuPL)", "57.5", "-3.0"),
        ("False", "SimNL (without re-ranking)", "59.0", "-1.5"),
        ("False", "SimNL (without re-ranking)", "69.0", "-1.5"),
        ("True", "SimNL", "60.5", ""),
        ("True", "SimNL", "70.5", ""),
    ]
    more = runs({1: 55.0}, file, shots=4) + runs({1: 54.0}, NO_CUPL, shots=4)
    text = show(tmp_path / "more", records + more, "markdown")
    assert text.count("All runs with RERANK_WEIGHT=2.0.") == 1
    tables = [text.count(f"## Ablation of SimNL, {shots} shots") for shots in (4, 16)]
    assert tables == [1, 2]
    ends = [line.split("|")[-2].strip() for line in text.splitlines() if line.startswith("| SimNL  ")]
    assert ends == ["", "", ""]  # the full method is not compared with itself


def test_without_a_full_method_there_are_figures_and_no_differences(tmp_path):
    records = runs({1: 60.0, 2: 61.0}, NO_RERANK) + runs({1: 60.0, 2: 61.0}, NO_RERANK, protocol="no-val")
    records += runs({1: 65.0, 2: 66.0}, protocol="full-val")
    text = show(tmp_path, records, "markdown")
    assert text.count("the full method was not run") == 2
    assert "60.50" in text
    assert "65.50" not in text  # of another protocol, and nothing to ablate there


def test_prompts_that_a_data_set_does_not_have(tmp_path):
    """Where there is no CuPL file, its share in the classifier is no part of the method: no row claims it."""
    none = {"prompts": ["negative", "template"]}
    records = runs({1: 60.0, 2: 61.0}, **none) + runs({1: 50.0, 2: 51.0}, NO_RERANK, **none)
    records += runs({1: 60.0, 2: 61.0}, {f"{NODE}CUPL_WEIGHT": 1.0}, **none)
    there = runs({1: 70.0, 2: 71.0}, dataset="eurosat")
    there += runs({1: 69.0, 2: 69.0}, {f"{NODE}CUPL_WEIGHT": 1.0}, dataset="eurosat")
    rows = csv_rows(show(tmp_path, records + there))
    assert [(row["dataset"], row["row"], row["CuPL"], row["templates"]) for row in rows] == [
        ("dtd", "SimNL", "False", "True"),
        ("dtd", "SimNL (without re-ranking)", "False", "True"),
        ("eurosat", "SimNL", "True", "True"),
        ("eurosat", "SimNL (without templates)", "True", "False"),
        ("average", "SimNL", "", "True"),
    ]


def test_several_data_sets_have_an_average(tmp_path):
    first, second = {1: 60.0, 2: 64.0}, {1: 30.0, 2: 31.0}
    records = runs(first) + runs(second, dataset="eurosat")
    records += runs({1: 59.0, 2: 61.0}, NO_RERANK) + runs({1: 28.0, 2: 33.0}, NO_RERANK, dataset="eurosat")
    records += runs({1: 10.0, 2: 11.0}, {f"{NODE}ADAPTERS": []})
    rows = {(row["dataset"], row["row"]): row for row in csv_rows(show(tmp_path, records))}
    average = rows["average", "SimNL (without re-ranking)"]
    assert float(average["accuracy"]) == pytest.approx((59 + 61 + 28 + 33) / 4)
    differences = [-1.0, -3.0, -2.0, 2.0]
    half = scipy_stats.t.ppf(0.975, 3) * scipy_stats.sem(differences)
    assert float(average["difference"]) == pytest.approx(-1)
    assert float(average["difference_ci95"]) == pytest.approx(half)
    assert average["difference_n"] == "4"
    assert ("average", "SimNL (without adapters)") not in rows
    assert rows["dtd", "SimNL (without adapters)"]["positive-text"] == "False"


def test_nothing_to_show_is_an_error(tmp_path):
    others = three(50.0, method="TaskRes", options=NO_CUPL) + three(40.0, method="Foreign", options=NO_CUPL)
    with pytest.raises(ValueError, match=r"scripts/simnl/ablation\.sh"):
        show(tmp_path, [*runs({1: 60.0}), *others])


def test_from_the_study_to_the_printed_table(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    made = study_records()
    write(tmp_path / "output", [r for of_variant in made.values() for r in of_variant])
    for fmt in ("terminal", "markdown", "latex"):
        monkeypatch.setattr("sys.argv", ["table.py", str(tmp_path / "output"), "--layout", "ablation", "--format", fmt])
        assert tool.main() == 0
        printed = capsys.readouterr().out
        yes, no = (r"$\checkmark$", r"$\times$") if fmt == "latex" else ("✓", "✗")
        line = next(line for line in printed.splitlines() if "without adapters" in line)
        assert (line.count(yes), line.count(no)) == (6, 5)
        full = next(line for line in printed.splitlines() if "SimNL" in line and line.count(yes) > 1)
        assert (full.count(yes), full.count(no)) == (10, 1)
        assert "±" in line or r"\pm" in line


def test_a_switch_that_all_runs_share_is_the_full_methods_too(tmp_path):
    """A study that was started with Eq. 18, alone and beside the usual one."""
    eq18 = {f"{NODE}NEGATIVE_LOSS": "eq18"}
    shared = runs({1: 60.0, 2: 62.0}, eq18) + runs({1: 59.0, 2: 59.0}, {**eq18, **NO_RERANK})
    shared += runs({1: 50.0, 2: 50.0}, {**eq18, **NO_CUPL})
    text = show(tmp_path / "alone", shared, "markdown")
    assert "All runs with NEGATIVE_LOSS=eq18." in text
    rows = {row["row"]: row for row in csv_rows(show(tmp_path / "alone", shared))}
    assert {name: row["difference"] for name, row in rows.items()} == {
        "SimNL": "", "SimNL (without re-ranking)": "-2.0", "SimNL (without CuPL)": "-11.0",
    }  # fmt: skip
    assert {(row["Eq. 18"], row["full"]) for row in rows.values()} == {("True", "True"), ("True", "False")}
    both = shared + runs({1: 63.0, 2: 63.0})
    rows = {row["row"]: row["difference"] for row in csv_rows(show(tmp_path / "both", both))}
    assert rows["SimNL (without re-ranking, with Eq. 18)"] == "-4.0"
    assert rows["SimNL (with Eq. 18)"] == "-2.0"
    assert rows["SimNL"] == ""
    two = runs({1: 60.0, 2: 62.0}, {**eq18, **NO_RERANK}) + runs({1: 59.0}, {**eq18, f"{NODE}ADAPTERS": []})
    assert "the full method was not run" in show(tmp_path / "none", two, "markdown")


def test_data_sets_with_and_without_cupl_share_rows(tmp_path):
    none = {"prompts": ["negative", "template"], "dataset": "shapes"}
    records = runs({1: 60.0, 2: 62.0}) + runs({1: 59.0, 2: 59.0}, NO_RERANK)
    records += runs({1: 40.0, 2: 42.0}, **none) + runs({1: 37.0, 2: 37.0}, NO_RERANK, **none)
    rows = {(row["dataset"], row["row"]): row for row in csv_rows(show(tmp_path, records))}
    assert [name for place, name in rows if place == "average"] == ["SimNL", "SimNL (without re-ranking)"]
    assert {place: row["CuPL"] for (place, _), row in rows.items()} == {"dtd": "True", "shapes": "False", "average": ""}
    average = rows["average", "SimNL (without re-ranking)"]
    assert float(average["accuracy"]) == pytest.approx(48.0)
    assert (average["difference"], average["difference_n"]) == ("-3.0", "4")
    assert " ✓✗ " in show(tmp_path, records, "markdown")
