"""Secrets: what looks like one is masked, wherever it stands; what only sounds like one is kept."""

from __future__ import annotations

import pytest

from artifactfs.runs.secrets import MASK, Masker, is_secret_name, strip_credentials

SECRETS = [
    "password", "DB_PASSWORD", "--passphrase", "apiKey", "API-KEY", "aws_secret_access_key", "AWS_ACCESS_KEY_ID",
    "hf_token", "--token", "GITHUB_TOKEN", "client_secret", "private-key", "AZURE_STORAGE_CONNECTION_STRING",
    "Authorization", "credentials", "session_id", "SECRET_KEY_BASE64", "openai_key", "OPENAI_KEY", "wandb-key",
    "openaiKey",
]  # fmt: skip
ORDINARY = [
    "max_tokens", "eos_token", "tokenizer", "token_count", "num_tokens", "key", "n_keys", "author", "passes",
    "secretary", "lr", "seed", "keyboard", "monkey", "image_token_id", "tokens",
    "sort_key", "primary_key", "foreign_key", "partition_key",
    "group_key", "row_key", "cache_key", "ssh_public_key", "label_key", "sortKey",
]  # fmt: skip
FORMS = [
    "AKIA" + "A1B2" * 4, "ghp_" + "a1" * 18, "hf_" + "Ab" * 15, "sk-proj-" + "x9" * 12, "xoxb-123456789012-abcdef",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "glpat-" + "x" * 20, "AIza" + "B" * 35,
]  # fmt: skip


@pytest.mark.parametrize("name", SECRETS)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)
    assert Masker({}).mask_values({name: "hunter2"}) == {name: MASK}
    assert Masker({}).mask_values({name: 12345678}) == {name: MASK}
    assert Masker({}).mask_values({name: {"aws": ["hunter2", 7.5]}}) == {name: {"aws": [MASK, MASK]}}


@pytest.mark.parametrize("name", ORDINARY)
def test_names_that_only_sound_like_secrets(name: str) -> None:
    assert not is_secret_name(name)
    assert Masker({}).mask_arguments([f"--{name}=7", f"--{name}", "7"]) == (f"--{name}=7", f"--{name}", "7")


@pytest.mark.parametrize("secret", FORMS)
def test_forms_of_well_known_tokens_are_masked_in_any_text(secret: str) -> None:
    masker = Masker({})
    assert masker.mask_arguments(["x.py", secret, f"a,{secret}"]) == ("x.py", MASK, f"a,{MASK}")
    assert secret not in str(masker.mask_values({"notes": {"deep": [f"use {secret} here"]}}))


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["--password", "hunter2", "--lr", "1"], ["--password", MASK, "--lr", "1"]),
        (["--password=hunter2"], [f"--password={MASK}"]),
        (["API_KEY=hunter2", "x"], [f"API_KEY={MASK}", "x"]),
        (["-H", "Authorization: Bearer abcdefgh12"], ["-H", f"Authorization: {MASK} {MASK}"]),
        (["postgres://ann:hunter2@db/x"], [f"postgres://{MASK}@db/x"]),
        (["https://h/x?token=hunter2&n=1"], [f"https://h/x?token={MASK}&n=1"]),
        (['{"password": "hunter2", "lr": 1}'], ['{"password": "' + MASK + '", "lr": 1}']),
        (['{"credentials": {"a": "b}", "c": [1]}, "lr": 1}'], ['{"credentials": ' + MASK + ', "lr": 1}']),
        (["{'secret': ['a', 'b'], 'lr': 1}"], ["{'secret': " + MASK + ", 'lr': 1}"]),
        (['{"secret": ["cut'], ['{"secret": ' + MASK]),
        (["--openai-key", "hunter2"], ["--openai-key", MASK]),
        (["--token", "--verbose"], ["--token", "--verbose"]),
        (["curl", "-u", "ann:hunter2", "x"], ["curl", "-u", f"ann:{MASK}", "x"]),
        (["sh", "-c", "curl --user=ann:hunter2 x"], ["sh", "-c", f"curl --user=ann:{MASK} x"]),
        (["-u", "1000:1000", "-u", "https://h/x"], ["-u", "1000:1000", "-u", "https://h/x"]),
        (["python", "-u", "train.py", "sig=3"], ["python", "-u", "train.py", "sig=3"]),
        (["https://h/x?se=1&sig=hunter2%3D&sp=r"], [f"https://h/x?se=1&sig={MASK}&sp=r"]),
        (["--config", "password.yaml"], ["--config", "password.yaml"]),
    ],
)
def test_command_lines(given: list[str], kept: list[str]) -> None:
    assert list(Masker({}).mask_arguments(given)) == kept


def test_what_secret_variables_hold_is_masked_wherever_it_appears() -> None:
    masker = Masker({"MY_TOKEN": "correct horse", "SHORT_TOKEN": "yes", "PWD": "/home/ann", "EDITOR": "vim-editor"})
    assert masker.mask_text("say correct horse yes /home/ann vim-editor") == f"say {MASK} yes /home/ann vim-editor"


def test_values_at_any_depth_are_masked_and_other_numbers_stay() -> None:
    config = {
        "db": {"password": "x", "port": 5},
        "token": 3,
        "pass": True,
        "creds": None,
        "list": [{"api_key": "y"}],
        "secret": ["a", "b"],
        "t": "z",
    }
    assert Masker({}).mask_values(config) == {
        "db": {"password": MASK, "port": 5},
        "token": MASK,
        "pass": True,
        "creds": None,
        "list": [{"api_key": MASK}],
        "secret": [MASK, MASK],
        "t": "z",
    }


def test_all_that_a_run_is_given_is_masked() -> None:
    given = {"name": "token=abc", "project": "hf_" + "Ab" * 15, "notes": "my value!", "tags": ("t", "password=x")}
    assert Masker({"MY_KEY": "my value!"}).mask_details(given) == {
        "name": f"token={MASK}",
        "project": MASK,
        "notes": MASK,
        "tags": ("t", f"password={MASK}"),
        "config": {},
    }


def test_credentials_of_a_remote_are_dropped() -> None:
    assert strip_credentials("https://ann:hunter2@example.org/a.git") == "https://example.org/a.git"
    assert strip_credentials("https://ann%40x:hunter2@example.org/a.git") == "https://example.org/a.git"
    assert strip_credentials("git@example.org:a.git") == "git@example.org:a.git"
