"""The methods, one file each. Each registers itself in `TRAINER_REGISTRY` under the name of its class."""
