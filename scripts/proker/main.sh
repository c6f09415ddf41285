#!/usr/bin/env bash
# ProKeR on a data set: bash scripts/proker/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" ProKeR proker "$@"
