#!/usr/bin/env bash
# GDA on a data set: bash scripts/gda/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" GDA gda "$@"
