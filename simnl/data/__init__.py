"""What data sets are made of: the base class, splits, draws, label noise, digests of files, and their preparation."""
