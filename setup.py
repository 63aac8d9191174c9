"""Package list of the distribution; everything else is in pyproject.toml.

The folder `cli/` is installed as the import package `artifactfs_cli`: a top-level package named `cli` would
clash with other projects. pyproject.toml can either discover packages or rename one, not both, hence this file.
"""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["artifactfs", "artifactfs.*"]),
        "artifactfs_cli",
        *(f"artifactfs_cli.{name}" for name in find_packages("cli")),
    ],
    package_dir={"artifactfs_cli": "cli"},
)
