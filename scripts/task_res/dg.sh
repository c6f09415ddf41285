#!/usr/bin/env bash
# Domain generalisation of TaskRes: trained on DATASET (imagenet, shapes), tested on it and on its shifted variants.
# bash scripts/task_res/dg.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
TARGETS="${TARGETS:-variants}" exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" TaskRes task_res "$@"
