from resnet_backbone.evaluation.ground_truth import select_ground_truth

TRIANGLE = [1.0, 1.0, 8.0, 1.0, 8.0, 9.0]


def select(annotations, **arguments):
    images = [
        {"id": 7, "height": 10, "width": 20, "file_name": "7.jpg"},
        {"id": 9, "height": 5, "width": 5, "file_name": "9.jpg"},
    ]
    source = {"images": images, "annotations": annotations, "categories": []}
    options = {"categories": {3: "cat"}, "image_ids": [7]} | arguments
    return select_ground_truth(source, **options)


def annotation(**changes):
    base = {"id": 5, "image_id": 7, "category_id": 3, "bbox": [1, 1, 7, 8]}
    return base | {"segmentation": [TRIANGLE]} | changes


def test_restricted_to_images_and_categories():
    records = [
        annotation(id=1),
        annotation(id=2, image_id=9),
        annotation(id=3, category_id=4),
    ]
    truth = select(records)
    assert truth["images"] == [{"id": 7, "height": 10, "width": 20}]
    assert truth["categories"] == [{"id": 3, "name": "cat"}]
    assert len(truth["annotations"]) == 1


def test_missing_area_and_crowd_flag_are_filled_in():
    (plain, crowd) = select([annotation(), annotation(id=6, area=3.5, iscrowd=1)])["annotations"]
    assert (plain["area"], plain["iscrowd"]) == (56, 0)
    assert (crowd["area"], crowd["iscrowd"]) == (3.5, 1)


def test_ids_start_at_one_because_zero_means_unmatched():
    truth = select([annotation(id=0), annotation(id=12)])
    assert [instance["id"] for instance in truth["annotations"]] == [1, 2]


def test_polygons_without_three_corners_never_reach_the_rasteriser():
    records = [
        annotation(id=1, segmentation=[[1.0, 2.0, 3.0, 4.0], TRIANGLE]),
        annotation(id=2, segmentation=[[1.0, 2.0]]),
        annotation(id=3, segmentation=[]),
    ]
    kept, *rest = select(records)["annotations"]
    assert kept["segmentation"] == [TRIANGLE]
    assert [instance["segmentation"] for instance in rest] == [None, None]


def test_run_lengths_pass_unchanged():
    rle = {"size": [10, 20], "counts": [3, 4, 193]}
    (instance,) = select([annotation(segmentation=rle, iscrowd=1)])["annotations"]
    assert instance["segmentation"] == rle
