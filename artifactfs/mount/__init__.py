"""Serving a repository as a file system: transports, daemons, and the mounts that are up.

`api` is what the command line and the SDK use; nothing else here is meant to be imported from outside.
This package is the only user of `fuse` and `/dev/fuse`.
"""
