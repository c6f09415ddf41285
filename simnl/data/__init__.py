"""What data sets are made of: the base class, splits, few-shot draws, label noise, and `preparation`."""
