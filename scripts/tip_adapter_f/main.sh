#!/usr/bin/env bash
# TipAdapterF on a data set: bash scripts/tip_adapter_f/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" TipAdapterF tip_adapter_f "$@"
