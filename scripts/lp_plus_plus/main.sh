#!/usr/bin/env bash
# LPPlusPlus on a data set: bash scripts/lp_plus_plus/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" LPPlusPlus lp_plus_plus "$@"
