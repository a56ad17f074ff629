"""Typed configuration and its loader."""
