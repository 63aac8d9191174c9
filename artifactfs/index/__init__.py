"""Rebuildable lookup tables in LMDB."""
