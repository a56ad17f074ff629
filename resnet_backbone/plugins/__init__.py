"""Our networks inside other frameworks; each module imports its framework, and nobody else does."""
