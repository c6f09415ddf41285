#!/usr/bin/env bash
# Trained on the first half of the classes, tested on both halves:
# bash scripts/base2new.sh METHOD DATASET SHOTS [flags] [KEY VALUE ...] (--help explains)
TOOL=benchmark.py exec bash "$(dirname "${BASH_SOURCE[0]}")/_main.sh" base2new "$@"
