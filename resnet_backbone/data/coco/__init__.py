"""Images annotated in COCO format: validation, augmentation, padded batches."""
