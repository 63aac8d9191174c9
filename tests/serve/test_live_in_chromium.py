"""What a browser shows of things that move: a mount that is read from, and a video."""

from __future__ import annotations

import base64
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.serve.browser import MISSING, PROGRAM, environment_of, look, open_browser, serve, until
from tests.serve.support import fill, open_one, put

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=MISSING), pytest.mark.timeout(180)]

# A second of a square that moves, recorded by the browser itself.
RECORD = """() => new Promise((resolve, reject) => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
  const recorder = new MediaRecorder(canvas.captureStream(20), { mimeType: "video/webm" });
  const pen = canvas.getContext("2d"), parts = [];
  recorder.ondataavailable = (event) => parts.push(event.data);
  recorder.onerror = (event) => reject(event.error);
  recorder.onstop = () => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.readAsDataURL(new Blob(parts));
  };
  let turn = 0;
  const draw = setInterval(() => {
    pen.fillStyle = `hsl(${turn * 12} 80% 50%)`;
    pen.fillRect(0, 0, 64, 64);
    turn += 1;
  }, 50);
  recorder.start();
  setTimeout(() => { clearInterval(draw); recorder.stop(); }, 1000);
})"""


@pytest.fixture
def browser() -> Iterator[Browser]:
    with open_browser() as found:
        yield found


@contextmanager
def mounted(folder: Path) -> Iterator[Path]:
    """Mount the repository in a folder by the command."""
    place = folder / "mnt"
    place.mkdir()
    environment = environment_of(folder)
    subprocess.run([*PROGRAM, "mount", str(place)], env=environment, check=True, capture_output=True)
    try:
        yield place
    finally:
        subprocess.run([*PROGRAM, "umount", str(place)], env=environment, check=True, capture_output=True)


@pytest.mark.mounted
def test_a_mount_is_seen_at_work(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path)
    with mounted(tmp_path) as place, serve(tmp_path) as url, look(browser, url) as seen:
        page = seen.open("/machine")
        box = page.locator(".box", has=page.locator("h3", has_text=str(place)))
        expect(box).to_contain_text("kernel")
        tiles = box.locator(".tile")
        expect(tiles.filter(has_text="workers").locator(".value")).to_have_text(str(min(os.cpu_count() or 1, 4)))
        before = tiles.filter(has_text="requests").locator(".value")
        expect(before).to_have_text("0/s")  # two looks, and nothing asked between them
        rates = set()
        for turn in range(40):
            for version in ("v0", "v1", "v2"):
                names = os.listdir(place / "animals" / version)
                assert "README.md" in names
                with pytest.raises(FileNotFoundError):
                    (place / "animals" / version / f"nothing-{turn}").stat()
            page.wait_for_timeout(100)
            rates.add(before.text_content())
            if len(rates) > 1:
                break
        assert rates != {"0/s"}
        box.locator("summary").click()
        expect(box.locator("details table")).to_contain_text("lookup")
        expect(page.locator("main")).to_contain_text("animals:@staging")
        seen.shoot("machine-mounted")
        seen.check()


def test_a_video_plays_and_is_asked_for_in_ranges(browser: Browser, tmp_path: Path) -> None:
    with browser.new_context() as context:
        video = base64.b64decode(context.new_page().evaluate(RECORD))
    source = tmp_path / "source"
    source.mkdir()
    (source / "square.webm").write_bytes(video)
    with open_one(tmp_path) as repository:
        put(repository, "clips", source)
    with serve(tmp_path) as url, look(browser, url) as seen:
        answers: list[int] = []
        seen.page.on("response", lambda one: answers.append(one.status) if "/api/content" in one.url else None)
        page = seen.open("/v/clips:v0/square.webm")
        until(page, "document.querySelector('video').readyState >= 2")
        assert page.evaluate("document.querySelector('video').videoWidth") == 64
        page.evaluate("document.querySelector('video').play()")
        until(page, "document.querySelector('video').currentTime > 0.2")
        assert set(answers) == {206}
        seen.shoot("video")
        seen.check()
