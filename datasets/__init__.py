"""Data sets: one small declaration per file, registered under CoOp's names in `DATASET_REGISTRY`."""
