#!/usr/bin/env bash
# Wrong training labels, 0 to 75 %, with and without reweighting where the method has it:
# bash scripts/noise.sh DATASET SHOTS [--methods M ...] [flags] [KEY VALUE ...] (--help explains)
TOOL=benchmark.py exec bash "$(dirname "${BASH_SOURCE[0]}")/_main.sh" noise "$@"
