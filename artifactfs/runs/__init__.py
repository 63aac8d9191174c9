"""Runs: what a program read and wrote, as events that never change."""
