"""A request that hangs can be interrupted: the client library does not see signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

from tests.remote.faulty_proxy import running_proxy
from tests.remote.servers import Server

READER = """
import sys
from artifactfs.blobstore.connecting import RemoteOptions
from artifactfs.blobstore.locations import parse_remote_location
from artifactfs.blobstore.objectstore import open_bucket
config = {"endpoint": sys.argv[1], "access_key_id": "k", "secret_access_key": "s"}
options = RemoteOptions(config=config)
store = open_bucket(parse_remote_location("s3://bucket/x"), options)
store.read("a")
"""


def test_a_request_that_hangs_is_interrupted_at_once(moto: Server) -> None:
    with running_proxy(moto.endpoint) as proxy:
        proxy.is_cut_off = True
        process = subprocess.Popen([sys.executable, "-c", READER, proxy.endpoint], stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while not proxy.seen:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.01)
        begun = time.monotonic()
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert b"KeyboardInterrupt" in said
        assert time.monotonic() - begun < 5
