import json

import numpy as np
from PIL import Image
from random_coco import our_numbers, random_data

from resnet_backbone.tasks.detection.figures import BACKGROUND, FIGURES, write_figures
from resnet_backbone.utils.own_files import OwnFiles


def test_figures_have_their_numbers_beside_them(tmp_path):
    content, found = random_data(3)
    _, evaluator = our_numbers(tmp_path, content, found)
    details, folder = evaluator.details, tmp_path / "run"
    folder.mkdir()
    write_figures(details, OwnFiles(folder, "run"))
    assert OwnFiles(folder, "run").present() == sorted(FIGURES)
    for name in FIGURES:
        if name.endswith(".png"):
            with Image.open(folder / name) as picture:
                picture.load()

    curves = json.loads((folder / "precision_recall.json").read_text())
    assert curves["recall"] == [round(step / 100, 2) for step in range(101)]
    for task, both in details.precision.items():
        for place, iou in enumerate(("0.50", "0.75")):
            for name, row in zip(details.class_names, both[place], strict=True):
                if np.isnan(row).any():
                    assert name not in curves[task][iou]
                else:
                    # Rounded to four decimals.
                    np.testing.assert_allclose(curves[task][iou][name], row, atol=5e-5)

    table = json.loads((folder / "confusion.json").read_text())
    names = [*details.class_names, BACKGROUND]
    matrix = np.zeros((len(names), len(names)), dtype=int)
    for row in table["rows"]:
        matrix[names.index(row["true"]), names.index(row["predicted"])] = row["count"]
    assert np.array_equal(matrix, details.matches.matrix)
