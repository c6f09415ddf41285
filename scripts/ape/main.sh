#!/usr/bin/env bash
# APE on a data set: bash scripts/ape/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" APE ape "$@"
