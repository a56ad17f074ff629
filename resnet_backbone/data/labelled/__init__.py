"""Images with one class each: where they are kept, crops and augmentation, batches."""
