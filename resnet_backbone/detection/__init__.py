"""Faster and Mask R-CNN heads, batched over images."""
