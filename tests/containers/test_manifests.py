"""The manifests for Kubernetes, held against the schemas of the API: no unknown field, no wrong type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")
validate = pytest.importorskip("kubernetes_validate")
FOLDER = Path(__file__).parent.parent.parent / "docs" / "kubernetes"


def documents() -> list[tuple[str, dict[str, Any]]]:
    return [
        (path.name, found) for path in sorted(FOLDER.glob("*.yaml")) for found in yaml.safe_load_all(path.read_text())
    ]


@pytest.mark.parametrize(("name", "manifest"), documents())
def test_a_manifest_is_valid_strictly(name: str, manifest: dict[str, Any]) -> None:
    validate.validate(manifest, "1.33", strict=True)


def test_an_unknown_field_would_be_seen() -> None:
    manifest = next(found for _, found in documents() if found["kind"] == "Pod")
    manifest["spec"]["containers"][0]["volumeMount"] = []
    with pytest.raises(validate.ValidationError):
        validate.validate(manifest, "1.33", strict=True)


def test_volumes_of_the_examples_are_ones_that_the_plugin_takes() -> None:
    pytest.importorskip("grpc")
    from artifactfs.serve.csi.wishes import parse_wish

    found = 0
    for _, manifest in documents():
        for volume in manifest["spec"].get("volumes", []) if manifest["kind"] == "Pod" else []:
            if "csi" in volume:
                assert volume["csi"]["driver"] == "csi.artifactfs"
                parse_wish(volume["csi"]["volumeAttributes"], is_read_only=False, flags=[])
                found += 1
    assert found == 2
