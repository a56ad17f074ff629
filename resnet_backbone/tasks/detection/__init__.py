"""Training, evaluating and using detectors."""
