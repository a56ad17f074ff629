"""Which image is read when, by which process, and how its pixels are decoded."""
