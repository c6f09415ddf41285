#!/usr/bin/env bash
# SimNL on a data set: bash scripts/simnl/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" SimNL simnl "$@"
