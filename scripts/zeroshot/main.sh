#!/usr/bin/env bash
# ZeroshotCLIP on a data set: bash scripts/zeroshot/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" ZeroshotCLIP zeroshot "$@"
