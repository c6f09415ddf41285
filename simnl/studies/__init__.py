"""A study is many runs: the cells of a matrix, and the processes that carry them out."""

# The studies of `simnl.studies.definitions`, for command lines, which import nothing heavy to be understood.
STUDY_NAMES = ("fewshot", "dg", "base2new", "noise", "sensitivity", "ablation", "audit")
