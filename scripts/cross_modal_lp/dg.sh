#!/usr/bin/env bash
# Domain generalisation of CrossModalLP: trained on DATASET (imagenet, shapes), tested on it and on its shifted variants.
# bash scripts/cross_modal_lp/dg.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
TARGETS="${TARGETS:-variants}" exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" CrossModalLP cross_modal_lp "$@"
