"""Settings of object stores out of the AWS tools' files."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifactfs.credentials import find_file_config
from artifactfs.errors import ConfigurationError


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws/config").write_text("[profile sso]\nregion = eu-west-1\n")
    (tmp_path / ".aws/credentials").write_text("[work]\naws_access_key_id = k\naws_secret_access_key = topsecret\n")
    return tmp_path


def test_a_profile_gives_its_keys(home: Path) -> None:
    assert find_file_config({"HOME": str(home), "AWS_PROFILE": "work"})["aws_access_key_id"] == "k"
    assert find_file_config({"HOME": str(home)}) == {}


def test_a_profile_that_is_not_there_is_told_from_one_without_keys(home: Path) -> None:
    with pytest.raises(ConfigurationError) as missing:
        find_file_config({"HOME": str(home), "AWS_PROFILE": "nosuch"})
    assert "there is no AWS profile 'nosuch'" in str(missing.value)
    assert f"{home}/.aws/config or {home}/.aws/credentials" in str(missing.value)
    assert "topsecret" not in str(missing.value)
    with pytest.raises(ConfigurationError, match="'sso' has no static keys"):
        find_file_config({"HOME": str(home), "AWS_PROFILE": "sso"})
