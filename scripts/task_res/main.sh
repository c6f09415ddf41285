#!/usr/bin/env bash
# TaskRes on a data set: bash scripts/task_res/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" TaskRes task_res "$@"
