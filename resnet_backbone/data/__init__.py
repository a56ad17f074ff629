"""COCO-format datasets: validation, decoding, augmentation, batches."""
