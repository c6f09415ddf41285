"""What every few-shot method is made of: the task it sees, the head it is, loaders, the search over its settings."""
