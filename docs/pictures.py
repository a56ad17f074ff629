"""Draws README's pictures anew, from runs of the shipped configurations.

    python docs/pictures.py photo --coco /data/coco    # trains for some minutes, or reuses its run
    python docs/pictures.py quickstart                 # of the run in output/quickstart

COCO's licences forbid derivatives of most photos. The eight that are learned here are Creative
Commons Attribution 2.0 (licence 4 in COCO's files).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import resnet_backbone as rb
from resnet_backbone.cli.main import main as command
from resnet_backbone.utils import run_layout

DOCS = Path(__file__).resolve().parent
LICENCE = 4
PHOTOS = (107438, 121647, 196393, 231460, 234748, 358083, 408805, 525891)
SHOWN = 196393
ANNOTATIONS = "annotations/instances_train2017.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Reads the command line and draws."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("picture", choices=("photo", "quickstart"))
    parser.add_argument("--coco", type=Path, help="for the photo: the folder that holds train2017/")
    parser.add_argument("--output", type=Path, default=Path("output"), help="folder of the runs")
    parser.add_argument("--docs", type=Path, default=DOCS, help="where the picture is written")
    given, keys = parser.parse_known_args(arguments)
    if given.picture == "quickstart":
        picture, name = of_quickstart(given.output / "quickstart"), "quickstart.png"
    elif given.coco is None:
        parser.error("photo needs --coco")
    else:
        picture, name = photo(given.coco.resolve(), given.output / "photo", keys), "photo.jpg"
    picture.save(given.docs / name, quality=90)
    print(f"wrote {given.docs / name}")


def photo(coco: Path, run: Path, keys: Sequence[str] = ()) -> Image.Image:
    """Returns the shown photo with what a detector finds that has learned it and seven others.

    Args:
        coco: The folder that holds train2017/ and annotations/.
        run: The output folder; if a finished run is there, it is used.
        keys: More keys of the configuration, as `key.path=value`.
    """
    if not (run / run_layout.WEIGHTS).is_file():
        annotations = run.parent / "photo.json"
        annotations.parent.mkdir(parents=True, exist_ok=True)
        annotations.write_text(json.dumps(chosen(json.loads((coco / ANNOTATIONS).read_text()))))
        file = annotations.resolve()
        splits = [f"data.{split}.annotations={file}" for split in ("train", "val")]
        given = [f"data.root={coco}", *splits, f"output={run}", *keys]
        command(["train", "--config", "coco_overfit8.yaml", *given])
    predict = rb.Predictor(run)
    return predict(coco / "train2017" / f"{SHOWN:012}.jpg").draw(color_by="instance")


def chosen(coco: dict[str, list[dict[str, int]]]) -> dict[str, list[dict[str, int]]]:
    """Returns the entries of COCO's file that belong to the eight photos.

    Raises:
        ValueError: one of them is not there, or not under the licence it should have.
    """
    images = [image for image in coco["images"] if image["id"] in PHOTOS]
    if [image["license"] for image in images] != [LICENCE] * len(PHOTOS):
        raise ValueError(f"expected {len(PHOTOS)} photos with licence {LICENCE}, found {images}")
    annotations = [entry for entry in coco["annotations"] if entry["image_id"] in PHOTOS]
    return coco | {"images": images, "annotations": annotations}


def of_quickstart(run: Path, count: int = 2) -> Image.Image:
    """Returns the run's first pictures of detections and ground truth, side by side."""
    files = sorted((run / run_layout.PICTURES).glob("*.jpg"))[:count]
    pictures = [Image.open(file) for file in files]
    width, height = sum(p.width for p in pictures), max(p.height for p in pictures)
    row = Image.new("RGB", (width, height), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width
    return row


if __name__ == "__main__":
    main()
