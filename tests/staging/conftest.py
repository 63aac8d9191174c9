"""Fixtures of the staging tests."""

from tests.staging.union_support import area, me, repository, staging, union

__all__ = ["area", "me", "repository", "staging", "union"]
