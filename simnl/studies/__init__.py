"""Many runs: the cells of a study, and the processes that carry them out."""
