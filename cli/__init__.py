"""The command line of artifactfs, installed as `artifactfs_cli`: one file per command.

Modules import each other relatively, so that the folder's name does not matter.
"""
