"""Fixtures of the union's tests, shared with those of staging directories."""

from __future__ import annotations

from tests.staging.union_support import area, me, repository, staging, union

__all__ = ["area", "me", "repository", "staging", "union"]
