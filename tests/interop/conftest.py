"""Fixtures: those of the command line's tests."""

from __future__ import annotations

from tests.cli.conftest import animals, cli, work

__all__ = ["animals", "cli", "work"]
