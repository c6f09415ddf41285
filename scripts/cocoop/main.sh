#!/usr/bin/env bash
# CoCoOp on a data set: bash scripts/cocoop/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" CoCoOp cocoop "$@"
