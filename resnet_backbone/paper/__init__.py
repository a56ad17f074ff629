"""The paper's measurements, repeated and compared with the published numbers."""
