"""Pictures, curves and tables."""
