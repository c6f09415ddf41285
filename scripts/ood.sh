#!/usr/bin/env bash
# Unknown classes: all methods on cached features (or METHODS), and what each trades for its accuracy:
# bash scripts/ood.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
TOOL=ood.py exec bash "$(dirname "${BASH_SOURCE[0]}")/_main.sh" all "$@"
