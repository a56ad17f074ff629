"""Classifiers: training, judging and measuring them, and handing their backbones over."""
