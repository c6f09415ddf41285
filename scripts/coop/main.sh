#!/usr/bin/env bash
# CoOp on a data set: bash scripts/coop/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" CoOp coop "$@"
