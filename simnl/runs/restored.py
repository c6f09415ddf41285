"""Compute the logits of runs that stored none, from the trained head and without training."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

from dassl.data.datasets import build_dataset
from simnl.runs.logits import Keeper, keep_logits
from simnl.runs.reload import reload_trainer
from simnl.runs.target_configs import target_config, targets_of_record
from simnl.runs.targets import test_on_all

CLOSE = 1e-6  # percent


def restore_logits(record: Mapping[str, Any]) -> None:
    """Test the head of a run again, also on its targets, and write the logits beside the record.

    Raises:
        FileNotFoundError: the run left no config or no head, or data are missing.
        ValueError: the head does not give the accuracies of the record.
    """
    trainer = reload_trainer(record)
    names = targets_of_record(trainer.cfg, record)
    targets = {name: build_dataset(target_config(trainer.cfg, name)) for name in names.values()}
    keeper = Keeper.of_test(trainer)
    with contextlib.redirect_stdout(io.StringIO()):
        found = {"": trainer.test()}
    found |= test_on_all(trainer, names, keeper, targets)
    for name, accuracy in found.items():
        recorded = record["targets"][name] if name else record["accuracy"]
        if abs(accuracy - recorded) > CLOSE:
            where = f" on the target {name}" if name else ""
            raise ValueError(
                f"{record['path']} has an accuracy of {recorded:.2f} %{where}, but the head beside it gives "
                f"{accuracy:.2f} %. Delete the record and run its command again."
            )
    keep_logits(trainer, keeper, record)
