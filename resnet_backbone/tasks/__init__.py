"""What a run trains: where models, data and judges meet; the tasks know nothing of each other."""
