"""The names of the files in a run's output folder."""

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
LOG = "log.txt"
RESULTS = "results.json"
WEIGHTS = "model.safetensors"
BACKBONE = "backbone.safetensors"  # only written for classifiers
CURVES = "curves.png"
ENVIRONMENT = "environment.json"
TENSORBOARD = "tensorboard"
PICTURES = "pictures"
SKIPPED = "skipped_samples.json"
