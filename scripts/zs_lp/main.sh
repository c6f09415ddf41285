#!/usr/bin/env bash
# ZSLP on a data set: bash scripts/zs_lp/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" ZSLP zs_lp "$@"
