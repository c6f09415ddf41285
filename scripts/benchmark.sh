#!/usr/bin/env bash
# Any matrix of runs: bash scripts/benchmark.sh STUDY [flags] [KEY VALUE ...] (--help explains)
TOOL=benchmark.py exec bash "$(dirname "${BASH_SOURCE[0]}")/_main.sh" "$@"
