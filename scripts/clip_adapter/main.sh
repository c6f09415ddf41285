#!/usr/bin/env bash
# CLIPAdapter on a data set: bash scripts/clip_adapter/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" CLIPAdapter clip_adapter "$@"
