"""Staging directories as they lie on disk: the upper directory and what is known about it."""
