"""Images with one class label each: storage, crops and augmentation, batches."""
