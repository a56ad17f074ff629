"""What each process of the two-rank test does; spawned processes import it by name."""

import json
import os

import torch
from tiny_rcnn import CATEGORY_IDS, CLASS_NAMES, Seer, tiny_annotations, tiny_batch

from resnet_backbone.evaluation import CocoEvaluator
from resnet_backbone.tasks.detection.evaluate import evaluate_detector
from resnet_backbone.utils import distributed

CPU = torch.device("cpu")
IMAGE_IDS = tuple(range(10, 17))


def coco_evaluator(folder):
    folder.mkdir(exist_ok=True)
    path = folder / "instances.json"
    path.write_text(json.dumps(tiny_annotations(IMAGE_IDS)))
    return CocoEvaluator(
        path, category_ids=CATEGORY_IDS, class_names=CLASS_NAMES, image_ids=IMAGE_IDS
    )


def batches(image_ids):
    return [tiny_batch([image_id], seed=image_id) for image_id in image_ids]


def evaluate_share(rank, port, folder, queue):
    os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank))
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    with distributed.joined(CPU):
        polls = []
        # 7 images make shares of 5 and 3: the first rank's last image is also the second's, as
        # where padding evens shares.
        share = [*IMAGE_IDS[rank::2], *IMAGE_IDS[1:2]][: 5 - 2 * rank]
        result = evaluate_detector(
            Seer(),
            batches(share),
            coco_evaluator(folder / str(rank)),
            CPU,
            with_loss=True,
            should_stop=lambda: polls.append(1) or False,
        )
        queue.put((rank, result.to_dict(), len(polls)))
