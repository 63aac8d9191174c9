"""Staging directories served by the kernel's overlayfs; Linux only, and only where mounting is allowed."""
