"""One run: its config, its identity, its folder and its record."""
