#!/usr/bin/env bash
# Domain generalisation of CoCoOp: trained on DATASET (imagenet, shapes), tested on it and on its shifted variants.
# bash scripts/cocoop/dg.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
TARGETS="${TARGETS:-variants}" exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" CoCoOp cocoop "$@"
