"""A run of any task: the loop, its state on disk, and what it reports."""
