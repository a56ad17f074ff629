"""This package's networks inside other frameworks; only its module imports a framework."""
