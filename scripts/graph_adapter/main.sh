#!/usr/bin/env bash
# GraphAdapter on a data set: bash scripts/graph_adapter/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" GraphAdapter graph_adapter "$@"
