"""Meaning: collections, versions, aliases, commit, and everything else that a repository is about."""
