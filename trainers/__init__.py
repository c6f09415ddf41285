"""Methods: one file each, registered in `TRAINER_REGISTRY` under the class's name."""
