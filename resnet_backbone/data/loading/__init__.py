"""The order of training images, the worker processes that load them, and their decoding."""
