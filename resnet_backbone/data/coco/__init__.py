"""Annotated images in COCO's format: validation, augmentation, padded batches."""
