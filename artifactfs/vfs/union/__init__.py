"""An upper directory and an immutable version, shown as one writable tree."""
