#!/usr/bin/env bash
# The linear probe on a data set: bash scripts/linear_probe/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" LinearProbe linear_probe "$@"
