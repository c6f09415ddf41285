#!/usr/bin/env bash
# Any method on a data set: bash scripts/run.sh METHOD DATASET SHOTS [KEY VALUE ...] (--help explains).
# METHOD is a name in configs/trainers, in any case; TARGETS=variants tests on shifted data sets too.
exec bash "$(dirname "${BASH_SOURCE[0]}")/_main.sh" "$@"
