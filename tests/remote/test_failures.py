"""What is said when nothing answers, something else than an object store does, or settings are missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from artifactfs.blobstore.connecting import RemoteOptions, connect
from artifactfs.blobstore.connection_failures import explain_connection
from artifactfs.blobstore.locations import RemoteLocation
from artifactfs.blobstore.remote_failures import translate_remote_error
from artifactfs.errors import ConfigurationError, RemoteDeniedError, RemoteUnavailableError
from artifactfs.reference.policy import ReferencePolicy
from artifactfs.reference.references import References
from tests.cli.support import Cli
from tests.remote.servers import find_free_port, s3_server

UNAVAILABLE = 40


class _Page(BaseHTTPRequestHandler):
    """Answers everything with a page, as a proxy does that wants a login."""

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b"<html><body>Please log in</body></html>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()


@pytest.fixture
def page() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_page_is_taken_for_no_object_and_no_empty_bucket(page: str, tmp_path, monkeypatch) -> None:
    environ = {
        **s3_server(page, "k", "topsecret").environ,
        "ARTIFACTFS_REPO": str(tmp_path / "repository"),
        "ARTIFACTFS_DEADLINE_SECONDS": "0.1",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    cli = Cli()
    for command in (
        ["put", "animals", "s3://bucket/cat"],
        ["put", "animals", "s3://bucket/images/"],
        ["--repo", "s3://bucket/repository", "ls"],
        ["--repo", "s3://bucket/repository", "put", "animals", str(tmp_path)],
    ):
        said = cli(*command, code=UNAVAILABLE).stderr
        assert "what answered is not the object store" in said
        assert "proxies" in said
    store = s3_server(page, "k", "s").open_bucket("bucket")
    for ask in (lambda: store.read("a"), lambda: store.find_size("a")):
        with pytest.raises(RemoteUnavailableError, match="what answered is not the object store"):
            ask()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_failure_of_a_bucket_says_which_and_of_what_host(page: str, scheme: str) -> None:
    closed, tls = f"127.0.0.1:{find_free_port()}", page.removeprefix("http://")
    expected = {
        f"{scheme}://{closed}": f"{closed} cannot be reached: connection refused",
        f"{scheme}://nowhere.invalid": "the name of nowhere.invalid cannot be resolved",
    }
    if scheme == "https":
        expected[f"https://{tls}"] = f"{tls} does not speak TLS"
    for endpoint, said in expected.items():
        references = References(ReferencePolicy(), s3_server(endpoint, "k", "topsecret").options())
        with pytest.raises(RemoteUnavailableError) as error:
            list(references.iter_entries("s3://bucket/a"))
        assert f"reading s3://bucket/a: {said}" in str(error.value)
        assert "topsecret" not in str(error.value)


def test_a_certificate_that_cannot_be_verified_is_named() -> None:
    text = (
        "Error performing HEAD https://key:topsecret@host:44/bucket/a?sig=topsecret in 5ms - HTTP error: ... "
        "kind: Connect, ... error: Custom { kind: InvalidData, error: InvalidCertificate( UnknownIssuer, ), }"
    )
    assert explain_connection(text) == "the certificate of host:44 cannot be verified (UnknownIssuer)"


def test_settings_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT_KEY", "AZURE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match="AZURE_STORAGE_ACCOUNT_NAME"):
        connect(RemoteLocation("az", "box", ""), RemoteOptions())
    for store, expected in (("GCS", "GOOGLE_APPLICATION_CREDENTIALS"), ("S3", "AWS_ACCESS_KEY_ID")):
        text = f'GET http://169.254.169.254/latest/api/token - 403 store: "{store}", status: 403'
        found = translate_remote_error(Exception(text), doing="reading x", key="x")
        assert isinstance(found, RemoteDeniedError)
        assert "no credentials were found (set " in str(found)
        assert "_SKIP_SIGNATURE=true" in str(found)
        assert expected in found.hint
