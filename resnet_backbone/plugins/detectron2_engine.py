"""Training with detectron2's heads, trainer and evaluator, on our backbone and from our configs."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.engine import DefaultTrainer, default_setup
from detectron2.evaluation import COCOEvaluator
from detectron2.utils import comm

from resnet_backbone.config.schema import Config
from resnet_backbone.data.build import build_dataset, draw_shapes_dataset
from resnet_backbone.data.coco import CocoDataset
from resnet_backbone.detection.contract import settle
from resnet_backbone.engine.schedule import scale_to_batch
from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.plugins.detectron2_config import refuse_what_is_not_there, to_detectron2
from resnet_backbone.utils import distributed
from resnet_backbone.utils.device import pick_device
from resnet_backbone.utils.imports import import_modules
from resnet_backbone.weights.stored import read_weights

TRAINED = "model_final.pth"

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """detectron2's trainer with COCO's evaluation in Python, as the compiled one may be missing."""

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str, output_folder: Any = None) -> Any:  # noqa: ANN401
        """Returns the evaluator of a dataset."""
        tasks = ("bbox", "segm") if cfg.MODEL.MASK_ON else ("bbox",)
        folder = output_folder or str(Path(cfg.OUTPUT_DIR) / "inference")
        return COCOEvaluator(dataset_name, tasks, output_dir=folder, use_fast_impl=False)


def train(cfg: Config, *, resume: bool = False, overwrite: bool = False) -> Path:
    """Trains what `cfg` describes with detectron2; every rank calls it.

    Validation losses, pictures, curves and the averages that our engine makes are not detectron2's
    to make; checkpoints and metrics are as it writes them.

    Args:
        cfg: Not yet scaled to the batch size.
        resume: Go on from the last checkpoint in the output folder.
        overwrite: Train anew where there is one.

    Returns:
        The output folder: model_final.pth, metrics.json, inference/, events, config.yaml.

    Raises:
        ConfigError: settings that detectron2's trainer cannot honour.
        DataError: images or annotations that cannot be used.
        WeightsError: initial weights that cannot be loaded.
        StorageError: the output folder holds a run already.
    """
    refuse_what_is_not_there(cfg)
    device = pick_device(cfg.device)
    output = Path(cfg.output)
    if (output / "last_checkpoint").exists() and not (resume or overwrite):
        raise StorageError(f"{output} holds a run; --resume goes on with it, --overwrite discards")
    distributed.init_from_env(device)
    try:
        _join_detectron2()
        import_modules(cfg.imports)
        cfg = _with_backbone_weights(scale_to_batch(settle(cfg), distributed.world_size()))
        if cfg.data.shapes is not None:
            distributed.on_main(lambda: draw_shapes_dataset(cfg.data))
        names, classes = _register(cfg)
        node = to_detectron2(cfg, num_classes=classes, device=device.type)
        node.DATASETS.TRAIN, node.DATASETS.TEST = (names[0],), (names[1],)
        if cfg.model.mask and _has_bitmaps(names[0]):
            node.INPUT.MASK_FORMAT = "bitmask"
        node.freeze()
        default_setup(node, None)
        trainer = Trainer(node)
        trainer.resume_or_load(resume=resume)
        trainer.train()
    finally:
        distributed.shutdown()
    logger.info("weights and results are in %s", output)
    return output


def _join_detectron2() -> None:
    """Tells detectron2 about the ranks that torchrun started."""
    if distributed.world_size() > 1 and comm._LOCAL_PROCESS_GROUP is None:
        comm.create_local_process_group(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _with_backbone_weights(cfg: Config) -> Config:
    """A backbone given as `model.weights` becomes the backbone's; a whole detector is refused."""
    source = cfg.model.weights
    if source is None:
        return cfg
    if read_weights(source, cfg.model.backbone.name).kind == "detector":
        raise ConfigError(
            f"model.weights: found {source}, a whole detector, expected a backbone for engine"
            " detectron2; resume its own checkpoints with --resume"
        )
    backbone = cfg.model.backbone.model_copy(update={"weights": source})
    model = cfg.model.model_copy(update={"backbone": backbone, "weights": None})
    return cfg.model_copy(update={"model": model})


def _register(cfg: Config) -> tuple[tuple[str, str], int]:
    """Registers both splits once they are valid; returns their names and how many classes."""
    names, classes = [], 0
    for split in ("train", "val"):
        dataset = build_dataset(cfg.data, split, with_masks=cfg.model.mask, seed=cfg.seed)
        name = f"rb_{cfg.name}_{split}"
        _register_split(name, dataset)
        names.append(name)
        classes = len(dataset.class_names)
    if cfg.model.num_classes not in (None, classes):
        raise ConfigError(
            f"model.num_classes is {cfg.model.num_classes}, but the annotations name {classes}"
        )
    return (names[0], names[1]), classes


def _has_bitmaps(name: str) -> bool:
    """Whether an instance's mask is run-length encoded, which detectron2 reads as a bitmap only."""
    return any(
        isinstance(instance.get("segmentation"), dict) and not instance.get("iscrowd")
        for record in DatasetCatalog.get(name)
        for instance in record["annotations"]
    )


def _register_split(name: str, dataset: CocoDataset) -> None:
    kept = set(dataset.image_ids)
    annotations, images = str(dataset.annotations), str(dataset.folder)

    def load() -> list[dict[str, Any]]:
        records = load_coco_json(annotations, images, name)
        return [record for record in records if record["image_id"] in kept]

    if name in DatasetCatalog.list():
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(json_file=annotations, image_root=images, evaluator_type="coco")
