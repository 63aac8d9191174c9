"""Bytes by key and by digest: what a repository is made of, wherever it lies."""
