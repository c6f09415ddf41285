#!/usr/bin/env bash
# TipAdapter on a data set: bash scripts/tip_adapter/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" TipAdapter tip_adapter "$@"
