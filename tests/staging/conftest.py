"""Fixtures of the staging tests."""

from conftest_union import area, me, repository, staging, union

__all__ = ["area", "me", "repository", "staging", "union"]
