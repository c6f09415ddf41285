"""What names a run: a hash of everything that can change its figures, and the folder that follows from it.

The hash covers the values of the config and the contents of the files that the config names. The paths of these files
are not hashed, because a file can change, and the same file can lie in another place. The data set, the prompts and the
weights each know their own files.

The identity is computed once, when the config of a run is complete (`RunIdentity.of`), and is handed on from there: to
the folder, to `run.json` in it, and to the record.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from yacs.config import CfgNode as CN

from dassl.data.datasets import DATASET_REGISTRY
from simnl.clip import prompt_files
from simnl.clip.architectures import weights_identity
from simnl.data.own_images import folder_of
from simnl.declarations import loaded, method
from simnl.runs.config import is_hashed, relevant
from simnl.runs.record import OWN_IMAGES, own_images_name

# Keys that are newer than some runs, with the values at which nothing changes. A key with this value is not hashed, so
# that the older runs still count as done.
UNSAID: dict[str, object] = {
    "DATASET.NOISE_RULE": "bernoulli",
    "DATASET.NOISE_PAIRS": "",
    "DATASET.NOISY_SELECTION": False,
    "TEST.NEW_CLASSES": "refuse",
    "PROMPTS.NEGATIVE_SENTENCES": "",
    "PROMPTS.CONTRASTIVE": "",
    "PROMPTS.CONTRASTIVE_CLASSES": 5,
    "TRAINER.SIMNL.ROUTED": 0,
    "TRAINER.SIMNL.FUSION": "fixed",
    "TRAINER.MMRL.FUSED_ON_SHIFTED": True,
    "TRAINER.TDA.TEST_VIEWS": 1,
}


@dataclass(frozen=True)
class RunIdentity:
    """The identity of a run.

    Attributes:
        method: the registered name of the trainer.
        dataset: the name of the data set in records and tables, see `dataset_name`.
        backbone: the name of the backbone in records and tables.
        shots: K, as the config asks for it.
        config_hash: eight hex digits, the same for all seeds.
        seed: the seed of the run.
    """

    method: str
    dataset: str
    backbone: str
    shots: int
    config_hash: str
    seed: int

    @classmethod
    def of(cls, cfg: CN) -> RunIdentity:
        """The identity of a config. This reads the files that the config names, so it is called once for a run."""
        return cls(
            method=cfg.TRAINER.NAME,
            dataset=dataset_name(cfg),
            backbone=cfg.MODEL.BACKBONE.NAME,
            shots=cfg.DATASET.NUM_SHOTS,
            config_hash=config_hash(cfg),
            seed=cfg.SEED,
        )

    def with_seed(self, seed: int) -> RunIdentity:
        """The identity of the same run with another seed. The hash stays, because it does not cover the seed."""
        return replace(self, seed=seed)

    def folder(self, output: str | Path) -> Path:
        """output/<dataset>/<Trainer>/<backbone>_<K>shots/<config hash>/seed<S>."""
        shots = f"{self.backbone}_{self.shots}shots"
        return Path(output) / self.dataset / self.method / shots / self.config_hash / f"seed{self.seed}"


def config_hash(cfg: CN) -> str:
    """Eight hex digits that change with everything that can change the figures of a run, except the seed."""
    kept = {key: value for key, value in relevant(cfg).items() if is_hashed(key) and UNSAID.get(key) != value}
    kept["MODEL.BACKBONE.WEIGHTS"] = weights_identity(cfg.MODEL.BACKBONE.ARCH, cfg.MODEL.BACKBONE.WEIGHTS)
    dataset = DATASET_REGISTRY.get(cfg.DATASET.NAME) if cfg.DATASET.NAME else None
    if dataset is not None:
        kept |= dataset.identity(cfg) | prompt_files.identity(cfg, dataset.prompt_folders(cfg))
    kept["REVISION"] = _revision(cfg)
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=list).encode()).hexdigest()[:8]


def _revision(cfg: CN) -> int:
    """The revision of the method of the run."""
    declared = method(cfg.TRAINER.NAME)
    return declared.revision if declared.stands_alone else loaded(cfg.TRAINER.NAME).of(cfg).revision


def dataset_name(cfg: CN) -> str:
    """The name of the data set in records and tables: the name of its config, which is CoOp's (e.g. `oxford_pets`), or
    `imagefolder-<folder>` for the user's own images."""
    name = cfg.DATASET.CONFIG or cfg.DATASET.NAME
    is_own = name.lower() == OWN_IMAGES and cfg.DATASET.FOLDER
    return own_images_name(folder_of(cfg)) if is_own else name
