#!/usr/bin/env bash
# CLIP-LoRA on a data set: bash scripts/clip_lora/main.sh DATASET SHOTS [KEY VALUE ...] (--help explains)
exec bash "$(dirname "${BASH_SOURCE[0]}")/../_main.sh" CLIPLoRA clip_lora "$@"
