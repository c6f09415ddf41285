#!/usr/bin/env bash
# Trained on one data set, tested on it and on others, whose classes are new:
# bash scripts/cross.sh METHOD SOURCE SHOTS [--targets NAME ...] [flags] [KEY VALUE ...] (--help explains)
TOOL=benchmark.py exec bash "$(dirname "${BASH_SOURCE[0]}")/_main.sh" cross "$@"
