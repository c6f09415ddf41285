"""One run: the config that describes it, the hash that names it, its folder, and the record it leaves."""
