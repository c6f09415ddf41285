"""A study is many runs: the cells of a matrix, and the processes that carry them out."""
