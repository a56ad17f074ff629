"""Training, evaluation and prediction: where the parts meet."""
