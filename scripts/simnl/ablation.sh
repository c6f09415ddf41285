#!/usr/bin/env bash
# SimNL with one adapter frozen at a time, and without its instance weights, losses and prompts:
# bash scripts/simnl/ablation.sh DATASET SHOTS [flags] [KEY VALUE ...] (--help explains)
TOOL=benchmark.py exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" ablation "$@"
