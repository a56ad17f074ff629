"""What the files in a run's folder are called, for those who write them and those who read them."""

CONFIG = "config.yaml"
METRICS = "metrics.jsonl"
LOG = "log.txt"
RESULTS = "results.json"
WEIGHTS = "model.safetensors"
BACKBONE = "backbone.safetensors"  # of classifiers
CURVES = "curves.png"
ENVIRONMENT = "environment.json"
TENSORBOARD = "tensorboard"
PICTURES = "pictures"
SKIPPED = "skipped_samples.json"
