"""From files to batches: COCO-format images, labelled images, and the loaders that both use."""
