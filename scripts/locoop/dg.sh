#!/usr/bin/env bash
# Domain generalisation: the method of this folder's name, trained on DATASET (imagenet, shapes), tested on it and on its
# shifted variants: bash scripts/METHOD/dg.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
TARGETS="${TARGETS:-variants}" exec bash "$here/../run.sh" "$(basename "$here")" "$@"
