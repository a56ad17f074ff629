"""The typed configuration and the functions that load it."""
