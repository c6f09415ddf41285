"""A study is many runs: the cells of a matrix, and the processes that carry them out."""

# The studies of `simnl.studies.definitions`, named here so that command lines need no heavy imports.
STUDY_NAMES = ("fewshot", "dg", "base2new", "cross", "noise", "sensitivity", "ablation", "audit")
