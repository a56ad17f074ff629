"""Detectors: training, judging and using them."""
