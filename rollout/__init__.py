"""What a release means: pure values and pure functions, no clock, no I/O, no logging.

This package imports nothing of the project's other packages; an import-linter
contract (``pyproject.toml``) holds it to that.
"""
