#!/usr/bin/env bash
# Domain generalisation of ZeroshotCLIP: trained on DATASET (imagenet, shapes), tested on it and on its shifted variants.
# bash scripts/zeroshot/dg.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
TARGETS="${TARGETS:-variants}" exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" ZeroshotCLIP zeroshot "$@"
