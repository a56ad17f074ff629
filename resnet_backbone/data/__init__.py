"""From files to batches: annotated images, labelled images, and the loading that serves both."""
