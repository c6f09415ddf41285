"""What few-shot methods are made of: the task that a method sees, head, losses, search, selection, trainer."""
