"""Runs of any task: the training loop, its state on disk, and its reports."""
