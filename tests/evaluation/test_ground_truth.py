import json

from resnet_backbone.evaluation.ground_truth import load_ground_truth

TRIANGLE = [1.0, 1.0, 8.0, 1.0, 8.0, 9.0]


def load(tmp_path, annotations, **arguments):
    path = tmp_path / "instances.json"
    images = [
        {"id": 7, "height": 10, "width": 20, "file_name": "7.jpg"},
        {"id": 9, "height": 5, "width": 5, "file_name": "9.jpg"},
    ]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    options = {"categories": {3: "cat"}, "image_ids": [7]} | arguments
    return load_ground_truth(path, **options)


def annotation(**changes):
    base = {"id": 5, "image_id": 7, "category_id": 3, "bbox": [1, 1, 7, 8]}
    return base | {"segmentation": [TRIANGLE]} | changes


def test_restricted_to_images_categories_and_accepted_annotations(tmp_path):
    records = [
        annotation(id=1),
        annotation(id=2, image_id=9),
        annotation(id=3, category_id=4),
        annotation(id=4),
    ]
    truth = load(tmp_path, records, leave_out=[4])
    assert truth["images"] == [{"id": 7, "height": 10, "width": 20}]
    assert truth["categories"] == [{"id": 3, "name": "cat"}]
    assert len(truth["annotations"]) == 1


def test_rejected_annotations_are_not_looked_into(tmp_path):
    broken = [{"id": 1}, {"id": 2, "image_id": [7]}, annotation(id=3, bbox="none")]
    truth = load(tmp_path, [*broken, annotation(id=4)], leave_out=[1, 2, 3])
    assert len(truth["annotations"]) == 1


def test_missing_area_and_crowd_flag_are_filled_in(tmp_path):
    (plain, crowd) = load(tmp_path, [annotation(), annotation(id=6, area=3.5, iscrowd=1)])[
        "annotations"
    ]
    assert (plain["area"], plain["iscrowd"]) == (56, 0)
    assert (crowd["area"], crowd["iscrowd"]) == (3.5, 1)


def test_ids_start_at_one_because_zero_means_unmatched(tmp_path):
    truth = load(tmp_path, [annotation(id=0), annotation(id=12)])
    assert [instance["id"] for instance in truth["annotations"]] == [1, 2]


def test_polygons_without_three_corners_never_reach_the_rasteriser(tmp_path):
    records = [
        annotation(id=1, segmentation=[[1.0, 2.0, 3.0, 4.0], TRIANGLE]),
        annotation(id=2, segmentation=[[1.0, 2.0]]),
        annotation(id=3, segmentation=[]),
    ]
    kept, *rest = load(tmp_path, records)["annotations"]
    assert kept["segmentation"] == [TRIANGLE]
    assert [instance["segmentation"] for instance in rest] == [None, None]


def test_run_lengths_pass_unchanged(tmp_path):
    rle = {"size": [10, 20], "counts": [3, 4, 193]}
    (instance,) = load(tmp_path, [annotation(segmentation=rle, iscrowd=1)])["annotations"]
    assert instance["segmentation"] == rle
