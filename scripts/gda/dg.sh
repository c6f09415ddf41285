#!/usr/bin/env bash
# Domain generalisation of GDA: trained on DATASET (imagenet, shapes), tested on it and on its shifted variants.
# bash scripts/gda/dg.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
TARGETS="${TARGETS:-variants}" exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" GDA gda "$@"
