"""The file-system view: nodes, names, attributes; knows no FUSE."""
