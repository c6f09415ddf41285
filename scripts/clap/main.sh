#!/usr/bin/env bash
# CLAP on a data set: bash scripts/clap/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" CLAP clap "$@"
