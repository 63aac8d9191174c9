"""Object-store servers on this machine, and stores in fresh buckets of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import itertools
import logging
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

import boto3
from botocore.config import Config

from artifactfs.blobstore.connecting import RemoteOptions
from artifactfs.blobstore.locations import parse_remote_location
from artifactfs.blobstore.objectstore import BucketStore, open_bucket
from artifactfs.blobstore.retrying import RetryingStore, RetryPolicy

SCRIPT = Path(__file__).with_name("object-stores.sh")
_BUCKETS = itertools.count(1)
AZURE_ACCOUNT = "devstoreaccount1"
# Azurite's documented key of its one account; it opens nothing else.
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@dataclass(frozen=True)
class Server:
    """A server, and how to reach it: `environ` is what a user would set."""

    scheme: str
    endpoint: str
    config: dict[str, str]
    environ: dict[str, str]

    def make_bucket(self) -> str:
        """Return the name of a new bucket."""
        name = f"bucket{os.getpid()}x{next(_BUCKETS)}"
        if self.scheme == "s3":
            self.client().create_bucket(Bucket=name)
        else:
            _make_container(self.endpoint, name)
        return name

    def client(self):
        """Return boto3's client for the server."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.config["access_key_id"],
            aws_secret_access_key=self.config["secret_access_key"],
            region_name="us-east-1",
            config=Config(proxies={}),
        )

    def options(self, **more) -> RemoteOptions:
        return RemoteOptions(config={**self.config, "endpoint": self.endpoint}, **more)

    def open_bucket(self, bucket: str, prefix: str = "some/prefix", **more) -> BucketStore:
        """Return the store at a prefix of a bucket, without retries."""
        location = parse_remote_location(f"{self.scheme}://{bucket}/{prefix}")
        return open_bucket(location, self.options(**more))

    def open_store(self, bucket: str, prefix: str = "some/prefix", **more) -> RetryingStore:
        """Return the store at a prefix of a bucket, which tries again."""
        return with_retries(self.open_bucket(bucket, prefix, **more))


def with_retries(store, *, attempts: int = 5, sleep=time.sleep) -> RetryingStore:
    return RetryingStore(store, RetryPolicy(attempts, 30, os.urandom, sleep=sleep), connections=8)


def s3_server(endpoint: str, key: str, secret: str) -> Server:
    config = {"access_key_id": key, "secret_access_key": secret, "region": "us-east-1"}
    environ = {
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": endpoint,
    }
    return Server("s3", endpoint, config, environ)


@contextmanager
def running_moto() -> Iterator[Server]:
    """Give a server of moto in this process."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield s3_server(f"http://{host}:{port}", "test", "secret")
    finally:
        server.stop()


@contextmanager
def running_ceph() -> Iterator[Server]:
    """Give Ceph's S3 gateway, new and empty."""
    with _running("ceph") as port:
        yield s3_server(f"http://127.0.0.1:{port}", "AKAKAKAK", "SKSKSKSK")


@contextmanager
def running_azurite() -> Iterator[Server]:
    """Give Azurite, new and empty."""
    with _running("azurite") as port:
        endpoint = f"http://127.0.0.1:{port}/{AZURE_ACCOUNT}"
        config = {"account_name": AZURE_ACCOUNT, "account_key": AZURE_KEY}
        environ = {
            "AZURE_STORAGE_ACCOUNT_NAME": AZURE_ACCOUNT,
            "AZURE_STORAGE_ACCOUNT_KEY": AZURE_KEY,
            "AZURE_ENDPOINT": endpoint,
        }
        yield Server("az", endpoint, config, environ)


def missing(kind: str) -> str:
    """Return why a server cannot be started here, or an empty string."""
    if kind == "ceph":
        tools = [tool for tool in ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin") if not shutil.which(tool)]
        return f"Debian's Ceph packages are not installed: no {', '.join(tools)}" if tools else ""
    return "" if _azurite().exists() else "Azurite is not installed (npm could not fetch it)"


def _azurite() -> Path:
    home = os.environ.get("AZURITE_HOME")
    top = Path(home) if home else SCRIPT.parent.parent.parent / os.environ.get("VENV", ".venv") / "azurite"
    return top / "node_modules" / ".bin" / "azurite-blob"


@contextmanager
def _running(kind: str) -> Iterator[int]:
    # Short, because the paths of sockets may have 107 bytes only.
    directory = tempfile.mkdtemp(prefix=f"af-{kind}-")
    port = find_free_port()
    try:
        # In a file, since the servers keep the script's standard output open.
        with open(f"{directory}/script.log", "wb") as log:
            done = subprocess.run(
                [SCRIPT, kind, directory, str(port)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                timeout=240,
                check=False,
            )
        assert done.returncode == 0, read_logs(directory)
        wait_for_port(port, lambda: read_logs(directory))
        yield port
    finally:
        subprocess.run([SCRIPT, "stop", directory], check=True)
        shutil.rmtree(directory, ignore_errors=True)


def read_logs(directory: str) -> str:
    paths = [Path(directory, "script.log"), Path(directory, "run", "start.log")]
    return "\n".join(path.read_text(errors="replace")[-4000:] for path in paths if path.exists())


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_port(port: int, explain) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < deadline, explain()
            time.sleep(0.05)  # a server that starts tells nobody
        else:
            return


def _make_container(endpoint: str, name: str) -> None:
    _put_azure(endpoint, name, query="restype=container")


def put_azure_blob(server: Server, container: str, key: str, **metadata: str) -> None:
    """Store a blob without bytes under any key: obstore leaves out slashes at the end."""
    headers = {"x-ms-blob-type": "BlockBlob", **{f"x-ms-meta-{name}": value for name, value in metadata.items()}}
    _put_azure(server.endpoint, f"{container}/{key}", headers=headers)


def _put_azure(endpoint: str, path: str, *, query: str = "", headers: dict[str, str] | None = None) -> None:
    """Make a container or a blob. Source: Azure Storage, "Authorize with Shared Key"."""
    host = endpoint.removeprefix("http://").partition("/")[0]
    signed = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06", **(headers or {})}
    canonical = "".join(f"{name}:{value}\n" for name, value in sorted(signed.items()))
    resource = f"/{AZURE_ACCOUNT}/{AZURE_ACCOUNT}/{path}" + (f"\n{query.replace('=', ':')}" if query else "")
    text = "PUT" + "\n" * 12 + canonical + resource
    digest = hmac.new(base64.b64decode(AZURE_KEY), text.encode(), hashlib.sha256).digest()
    signature = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}"
    connection = http.client.HTTPConnection(host, timeout=10)
    url = f"/{AZURE_ACCOUNT}/{path}" + (f"?{query}" if query else "")
    connection.request("PUT", url, headers={**signed, "Content-Length": "0", "Authorization": signature})
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    assert response.status == 201, answer
