#!/usr/bin/env bash
# APET on a data set: bash scripts/ape_t/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" APET ape_t "$@"
