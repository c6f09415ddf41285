#!/usr/bin/env bash
# SimNL with alpha, beta, lambda and tau varied one at a time, without the search (the paper's Table A3):
# bash scripts/simnl/sensitivity.sh DATASET SHOTS [flags] [KEY VALUE ...] (--help explains)
TOOL=benchmark.py exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" sensitivity "$@"
