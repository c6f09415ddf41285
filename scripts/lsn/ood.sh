#!/usr/bin/env bash
# Unknown classes: the method of this folder's name, trained on half of the classes of DATASET, tells their test images from
# others: bash scripts/METHOD/ood.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
TOOL=ood.py exec bash "$here/../run.sh" "$(basename "$here")" "$@"
