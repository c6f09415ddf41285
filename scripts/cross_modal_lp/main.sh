#!/usr/bin/env bash
# Cross-modal linear probe on a data set: bash scripts/cross_modal_lp/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" CrossModalLP cross_modal_lp "$@"
