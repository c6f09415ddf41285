"""What names a run: a hash of everything that can change its figures.

The hash covers the values of the config and the contents of the files that the config names. The path of a file says
little, since the file can change, and the same file can be in a different place. The data set, the prompts and the
weights each know their own files.
"""

from __future__ import annotations

import hashlib
import json

from yacs.config import CfgNode as CN

from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
from simnl.clip import prompts
from simnl.clip.weights import weights_identity
from simnl.runs.config import is_hashed, relevant


def config_hash(cfg: CN) -> str:
    """Eight hex digits that change with everything that can change a run's figures, but for the seed."""
    kept = {key: value for key, value in relevant(cfg).items() if is_hashed(key)}
    kept["MODEL.BACKBONE.WEIGHTS"] = weights_identity(cfg.MODEL.BACKBONE.WEIGHTS)
    dataset = DATASET_REGISTRY.get(cfg.DATASET.NAME) if cfg.DATASET.NAME else None
    if dataset is not None:
        kept |= dataset.identity(cfg) | prompts.identity(cfg, dataset.prompt_folders(cfg))
    kept["REVISION"] = TRAINER_REGISTRY.get(cfg.TRAINER.NAME).of(cfg).revision
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=list).encode()).hexdigest()[:8]
