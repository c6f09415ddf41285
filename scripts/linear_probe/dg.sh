#!/usr/bin/env bash
# Domain generalisation of the linear probe: trained on DATASET (imagenet, shapes), tested on it and on its shifted variants.
# bash scripts/linear_probe/dg.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
TARGETS="${TARGETS:-variants}" exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" LinearProbe linear_probe "$@"
