"""TransCLIP against the authors' own code in float32, with and without support; and its repair against ours."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.golden_next import NextGolden
from helpers.official import one_image
from simnl.fewshot.selection import percent_right
from trainers.transclip import Mixture, State, TransCLIPOptions, TransCLIPTransduction

GAMMAS = [0.002, 0.01, 0.02, 0.2]
OFFICIAL = TransCLIPOptions(rows="shifted", reset=False, keep_start=False)
FEWSHOT = ["bundled-4", *(f"shared-{shots}" for shots in (1, 2, 4, 16))]


def mixture(golden: NextGolden, text: str, options: TransCLIPOptions, support: bool) -> Mixture:
    test, _ = golden.split("test")
    start = (100 * test @ golden.text(text).T).softmax(1).double()
    rows = F.normalize(golden.shot_views()[0], dim=-1).double()
    labels = golden.labels
    if not support:
        rows, labels = rows[:0], labels[:0]
    return Mixture(start, test.double(), rows, labels, options)


def check_affinity(ours: Mixture, golden: NextGolden, name: str) -> None:
    """Neighbours and their cosines, in any order."""
    theirs, order = golden.outputs[f"{name}/W_cols"].long().sort(1)
    columns, places = ours.affinity.columns.sort(1)
    assert torch.equal(columns[: len(theirs)], theirs)
    values = golden.outputs[f"{name}/W_vals"].gather(1, order)
    torch.testing.assert_close(ours.affinity.values.gather(1, places)[: len(values)].float(), values, atol=1e-5, rtol=0)


@pytest.mark.parametrize("setting", ["bundled-4", "shared-4"])
def test_without_support(setting):
    golden = NextGolden(setting, "transclip_zs")
    out, (_, y_test) = golden.outputs, golden.split("test")
    ours = mixture(golden, "template", OFFICIAL, support=False)
    check_affinity(ours, golden, "transclip_zs")
    for name, text, keep in (("_zs", "template", True), ("_zs_proto", "cupl", True), ("_zs_preds", "cupl", False)):
        run = mixture(golden, text, TransCLIPOptions(rows="shifted", reset=False, keep_start=keep), support=False)
        if name == "_zs":
            check_first(golden, run, 0.0, "transclip_zs")
        state = run.fit(run.initial(), 0.0)
        golden.check(state.z, f"transclip{name}/z_end", 2e-3)
        check_end(golden, state, f"transclip{name}")
        theirs = out[f"transclip{name}/test_acc"].item()
        assert percent_right(state.z.argmax(1), y_test) == pytest.approx(theirs, abs=one_image(y_test))


def check_first(golden: NextGolden, run: Mixture, gamma: float, prefix: str) -> None:
    """The first inner iterations, and the first means and variances after them."""
    state = run.labels_given(run.initial())
    golden.check(state.z, f"{prefix}/z_first", 1e-4)
    state.means = run.means_given(state, gamma)
    golden.check(state.means, f"{prefix}/mu_first", 1e-4)
    variances = run.variances_given(state, gamma).float()
    torch.testing.assert_close(variances, golden.outputs[f"{prefix}/sigma_first"], atol=0, rtol=2e-3)


def check_end(golden: NextGolden, state: State, prefix: str) -> None:
    golden.check(state.means, f"{prefix}/mu_end", 1e-4)
    torch.testing.assert_close(state.variances.float(), golden.outputs[f"{prefix}/sigma_end"], atol=0, rtol=2e-3)


@pytest.mark.parametrize("setting", FEWSHOT)
def test_with_support(setting):
    golden = NextGolden(setting, "transclip_K{shots}")
    out, (_, y_test), (val, y_val) = golden.outputs, golden.split("test"), golden.split("val")
    run = mixture(golden, "template", OFFICIAL, support=True)
    chosen = golden.inputs[f"val_idx_K{golden.shots}"].long()
    plugin = TransCLIPTransduction(run.support, golden.labels, val[chosen], y_val[chosen], OFFICIAL)
    place = (val[chosen] @ golden.split("test")[0].T).argmax(1)
    assert place.tolist() == out["transclip/neighbor"].tolist()
    check_first(golden, run, GAMMAS[0], "transclip")
    for number, state in enumerate(run.runs(GAMMAS)):
        theirs = out["transclip/z_gamma"][number]
        torch.testing.assert_close(state.z[: len(theirs)].float(), theirs.float(), atol=2e-3, rtol=0)
        test_acc, val_acc = out["transclip/acc_test_val"][number].tolist()
        assert percent_right(state.z.argmax(1), y_test) == pytest.approx(test_acc, abs=one_image(y_test))
        assert percent_right(state.z[place].argmax(1), y_val[chosen]) == pytest.approx(val_acc, abs=one_image(place))
    check_end(golden, state, "transclip")
    found = plugin.chosen(run, golden.split("test")[0])
    theirs = out["transclip/returned_acc"].item()
    assert percent_right(found.argmax(1), y_test) == pytest.approx(theirs, abs=one_image(y_test))


def test_probabilities_of_another_method_with_support():
    golden = NextGolden("shared-4", "transclip_preds_K4")
    states = list(mixture(golden, "cupl", OFFICIAL, support=True).runs(GAMMAS))
    golden.check(states[-1].z, "transclip_preds/z_end", 2e-3)


def test_the_repair():
    """Rows in one order, nothing left of the gamma before: a golden of ours, in float64."""
    golden = NextGolden("shared-4", "transclip_repaired_ours_K4")
    run = mixture(golden, "template", TransCLIPOptions(), support=True)
    for gamma, theirs in zip((0.01, 0.2), golden.outputs["transclip_repaired/z_gamma"], strict=True):
        (state,) = run.runs([gamma])
        torch.testing.assert_close(state.z.float(), theirs.float(), atol=2e-3, rtol=0)
