#!/usr/bin/env bash
# The method of this folder's name on a data set: bash scripts/METHOD/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
exec bash "$here/../run.sh" "$(basename "$here")" "$@"
