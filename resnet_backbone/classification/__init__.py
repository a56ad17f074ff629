"""Image classifiers: networks that output class scores."""
