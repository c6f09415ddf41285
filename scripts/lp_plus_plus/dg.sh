#!/usr/bin/env bash
# Domain generalisation of LPPlusPlus: trained on DATASET (imagenet, shapes), tested on it and on its shifted variants.
# bash scripts/lp_plus_plus/dg.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
TARGETS="${TARGETS:-variants}" exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" LPPlusPlus lp_plus_plus "$@"
