"""Training, evaluating and measuring classifiers, and exporting their backbones."""
