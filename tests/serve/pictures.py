"""Pictures of the pages for the documentation: `python -m tests.serve.pictures` makes docs/pictures again."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import skimage
from PIL import Image

from artifactfs.runs.history import RunLog
from tests.serve.browser import look, open_browser, serve
from tests.serve.support import fill, make_files, make_safetensors, open_one, put

PLACE = Path(__file__).parents[2] / "docs" / "pictures"
PHOTOGRAPHS = (
    "chelsea.png",
    "coffee.png",
    "astronaut.png",
    "rocket.jpg",
    "brick.png",
    "grass.png",
    "motorcycle_left.png",
)
SHOWN = {
    "catalogue": "/",
    "version": "/v/photos:v1/images/chelsea.png",
    "grid": "/v/photos:v1/images?view=grid",
    "table": "/v/photos:v1/rows.parquet",
    "diff": "/diff/photos:v0/photos:v1",
    "lineage": "/lineage/classifier:v3",
    "history": "/history/photos",
}


def make_photos(folder: Path) -> None:
    """Add a collection of photographs, and models that were trained on its versions."""
    source = folder / "photos"
    make_files(source)
    shutil.rmtree(source / "images")
    (source / "images").mkdir()
    for name in PHOTOGRAPHS:
        path = Path(skimage.__file__).parent / "data" / name
        if path.exists():
            shutil.copy(path, source / "images" / name)
    with open_one(folder) as repository:
        put(repository, "photos", source, message="first photographs", tags=("raw",), description="Photographs.")
        with Image.open(source / "images" / "chelsea.png") as photograph:
            photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(source / "images" / "chelsea.png")
        (source / "notes.txt").write_text("one\ntwo and a half\nthree\n")
        put(repository, "photos", source, message="better notes", aliases=("reviewed",), metadata={"reviewer": "Ada"})
        count = iter(range(1000, 2000))
        log = RunLog(repository.store, clock=repository.clock, random=lambda size: next(count).to_bytes(size))
        for number in range(4):
            model = folder / f"model {number}"
            model.mkdir()
            (model / "weights.safetensors").write_bytes(make_safetensors() + bytes(number))
            run = log.start(
                author="ada", name=f"train {number}", job_type="training", config={"rate": 0.1 / (number + 1)}
            ).run
            used = f"photos:v{min(number, 1)}"
            log.use(run, used)
            if number:
                log.use(run, f"classifier:v{number - 1}")
            put(
                repository,
                "classifier",
                model,
                type="model",
                run=run,
                inputs=(used,),
                metadata={"accuracy": 0.8 + number / 30},
            )
            log.log(run, f"classifier:v{number}", is_new=True)  # noqa: G004 (a log of runs)
            log.finish(run, exit_code=0)


def main() -> None:
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        fill(folder)
        make_photos(folder)
        with serve(folder) as url, open_browser() as browser:
            for name, path in SHOWN.items():
                with look(browser, url, dark=name == "lineage") as seen:
                    seen.open(path)
                    seen.page.wait_for_load_state("networkidle")
                    seen.page.evaluate("document.activeElement.blur()")
                    seen.page.screenshot(path=str(PLACE / f"{name}.png"))
                    seen.check()


if __name__ == "__main__":
    main()
