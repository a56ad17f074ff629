"""The detectors Faster R-CNN and Mask R-CNN, batched over images."""
