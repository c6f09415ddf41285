#!/usr/bin/env bash
# SimNL without each of its adapters, weights, losses and prompts:
# bash scripts/simnl/ablation.sh DATASET SHOTS [flags] [KEY VALUE ...] (--help explains)
TOOL=benchmark.py exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" ablation "$@"
