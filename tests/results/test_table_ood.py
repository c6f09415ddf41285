"""The layout `ood`: published figures of unknown classes stand below the tables of the same sets."""

from __future__ import annotations

import pytest

from helpers.logit_runs import add_detection, drawn, make_run
from simnl.metrics.names import DEFINITIONS, OF_OTHERS
from simnl.results.published import read
from simnl.results.tables import Request, build

MOS = {f"mos_{name}": "far" for name in ("inaturalist", "sun", "places", "textures")}
NEAR = {f"openood_{name}": "near" for name in ("ssb_hard", "ninco")}


def published(folder, sets, **changes) -> dict[str, list[str]]:
    """The sentences on published figures, by the title of a table."""
    one = make_run(folder, {"test": drawn(0, 40)}, **{"dataset": "imagenet", **changes})
    add_detection(one, sets)
    tables = build("ood", [one], Request())
    return {table.title: [note for note in table.caption if note.startswith("Published")] for table in tables}


def test_published_figures_stand_below_the_tables_of_their_sets(tmp_path):
    found = published(tmp_path, MOS | NEAR)
    (average,) = [notes for title, notes in found.items() if "all far sets" in title]
    assert any("CLIPN, clipn_atd, ViT-B-16, mean over mos_inaturalist" in note for note in average)
    assert all(("between two thresholds" in note) == ("CLIPN" in note) for note in average)
    assert not any("openood" in note for note in average)
    (near,) = [notes for title, notes in found.items() if "openood_ninco" in title]
    assert ["AUROC 76.55, FPR95 67.74 (share of known images rejected" in note for note in near] == [True]


@pytest.mark.parametrize("changes", [{"dataset": "dtd"}, {"subsample_classes": "base"}])
def test_they_are_of_all_classes_of_imagenet(tmp_path, changes):
    assert not any(published(tmp_path, MOS, **changes).values())


def test_a_set_that_was_left_out_leaves_out_the_figures(tmp_path):
    del (some := dict(MOS))["mos_sun"]
    assert not any(published(tmp_path, some).values())


def test_every_row_has_a_definition_and_a_source():
    for row in read("detection"):
        assert row["definition"] in DEFINITIONS | OF_OTHERS
        assert row["source"]
        assert row["note"]
        assert 50 < float(row["auroc"]) < 100 > float(row["fpr95"]) > 0
