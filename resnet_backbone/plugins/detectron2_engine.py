"""Trains with detectron2's heads, trainer and evaluator, on our backbone and configuration."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, default_setup
from detectron2.engine.hooks import PeriodicCheckpointer, PeriodicWriter
from detectron2.evaluation import COCOEvaluator
from detectron2.utils import comm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from resnet_backbone.backbone.foreign import is_foreign
from resnet_backbone.backbone.variants import get_variant
from resnet_backbone.config.schema import Config
from resnet_backbone.data.coco.build import (
    check_coco_files,
    draw_shapes_dataset,
)
from resnet_backbone.data.coco.dataset import CocoDataset
from resnet_backbone.detection.settle import recipe_warnings, settle_detector
from resnet_backbone.engine import attempts, run_folder
from resnet_backbone.engine.schedule import learning_rate, scale_to_batch
from resnet_backbone.engine.train import check_device
from resnet_backbone.errors import ConfigError, DivergedError
from resnet_backbone.plugins import detectron2_data, detectron2_folder
from resnet_backbone.plugins.detectron2_config import (
    OURS_ALONE,
    refuse_what_is_not_there,
    to_detectron2,
)
from resnet_backbone.utils import distributed, storage
from resnet_backbone.utils.device import pick_device
from resnet_backbone.utils.folder_lock import locked
from resnet_backbone.utils.imports import import_modules
from resnet_backbone.weights.embedded import BESIDE
from resnet_backbone.weights.stored import read_weights

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """detectron2's trainer with settings that its configuration lacks.

    These are the log period, the number of checkpoints to keep, our learning rate schedule (which
    differs from detectron2's if the warm-up overlaps a cosine or a milestone), and COCO's Python
    evaluation, since detectron2's compiled one may be missing.

    Args:
        node: detectron2's configuration.
        cfg: Our configuration, from which `node` was converted.
        classes: Metadata of checkpoints: the classes' names and category ids.
    """

    def __init__(self, node: CfgNode, cfg: Config, classes: Mapping[str, str]) -> None:
        self._ours = cfg  # first, because the base class's constructor calls the methods below
        super().__init__(node)
        beside = {"config": cfg.model_dump_json(), **classes}
        self.checkpointer.add_checkpointable(BESIDE, _Text(beside))

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str, output_folder: Any = None) -> Any:  # noqa: ANN401
        """Returns the evaluator for a dataset."""
        tasks = ("bbox", "segm") if cfg.MODEL.MASK_ON else ("bbox",)
        folder = output_folder or str(Path(cfg.OUTPUT_DIR) / "inference")
        return COCOEvaluator(dataset_name, tasks, output_dir=folder, use_fast_impl=False)

    def build_lr_scheduler(self, cfg: CfgNode, optimizer: Optimizer) -> LambdaLR:
        """Returns the learning rate schedule of our engine."""
        solver = self._ours.solver
        return LambdaLR(optimizer, lambda step: learning_rate(solver, step) / solver.lr)

    def build_hooks(self) -> list[Any]:
        """Returns detectron2's hooks, with our log period and number of checkpoints."""
        hooks: list[Any] = super().build_hooks()
        for hook in hooks:
            if isinstance(hook, PeriodicCheckpointer):
                hook.max_to_keep = self._ours.checkpoint.keep
            elif isinstance(hook, PeriodicWriter):
                hook._period = self._ours.log_period
        return hooks


class _Text:
    """Text for every checkpoint, from which our tools build the detector again."""

    def __init__(self, text: Mapping[str, str]) -> None:
        self._text = dict(text)

    def state_dict(self) -> dict[str, str]:
        return self._text

    def load_state_dict(self, state: Mapping[str, str]) -> None:
        """Keeps this run's text: of a resumed run only what may change is different."""


def train_with_detectron2(cfg: Config, *, resume: bool = False, overwrite: bool = False) -> Path:
    """Trains the model that `cfg` describes with detectron2; every rank must call it.

    Validation losses, pictures, curves, and saving on a signal exist only in our engine.
    Checkpoints and metrics are written in detectron2's format.

    Args:
        cfg: The configuration, not yet scaled to the batch size.
        resume: Continue from the last checkpoint in the output folder; start if there is none.
        overwrite: Discard the run in the output folder.

    Returns:
        The output folder with model_final.pth, metrics.json, inference/, events, config.yaml.

    Raises:
        ConfigError: detectron2's trainer does not support the settings.
        DataError: the images or annotations cannot be used.
        WeightsError: the initial weights cannot be loaded.
        StorageError: the output folder cannot be written, or holds another run.
        DivergedError: a loss is not finite.
    """
    device = pick_device(cfg.device)
    check_device(cfg, device)
    output = Path(cfg.output)
    import_modules(cfg.imports)
    check_coco_files(cfg.data)
    cfg = _with_backbone_weights(settle_detector(cfg))
    refuse_what_is_not_there(cfg)
    if not is_foreign(cfg.model.backbone.name):
        get_variant(cfg.model.backbone.name)
    with distributed.joined(device), ExitStack() as stack:
        _join_detectron2(device.type)
        restarted = distributed.on_main(lambda: attempts.is_restart(output))
        resume, overwrite = resume or restarted, overwrite and not restarted
        distributed.on_main(lambda: _open_folder(stack, output, resume=resume, overwrite=overwrite))
        for warning in recipe_warnings(cfg):
            logger.warning(warning)
        logger.info("settings without effect in engine detectron2: %s", ", ".join(OURS_ALONE))
        if cfg.solver.amp == "auto":
            logger.info("solver.amp=auto: float32 in engine detectron2; fp16: its mixed precision")
        cfg = scale_to_batch(cfg, distributed.world_size())
        prepared = _prepare(cfg, device.type)
        if not resume:  # only now, when nothing can prevent this run from starting
            distributed.on_main(lambda: run_folder.discard(output))
        distributed.on_main(lambda: attempts.mark_as_begun(output))
        distributed.on_main(lambda: stack.enter_context(_listed(output, cfg)))
        _train(cfg, prepared, resume=resume)
    logger.info("weights and results are in %s", output)
    return output


def _open_folder(stack: ExitStack, output: Path, *, resume: bool, overwrite: bool) -> None:
    stack.enter_context(locked(output))
    detectron2_folder.claim_for_detectron2(output, resume=resume, overwrite=overwrite)


@contextmanager
def _listed(output: Path, cfg: Config) -> Iterator[None]:
    """Puts the files that are written inside the block on our list."""
    detectron2_folder.list_files(
        output,
        steps=cfg.solver.max_iter,
        period=cfg.checkpoint.period,
        ranks=distributed.world_size(),
    )
    before = detectron2_folder.event_files(output)
    try:
        yield
    finally:
        detectron2_folder.list_events(output, before)


class _Prepared(NamedTuple):
    """What a run starts with.

    Attributes:
        node: detectron2's configuration, frozen.
        classes: The classes, as `tasks.detection` stores them with weights.
        val: What the evaluator judges by.
    """

    node: CfgNode
    classes: dict[str, str]
    val: CocoDataset


def _prepare(cfg: Config, device: str) -> _Prepared:
    """Reads and registers the datasets, and converts the configuration."""
    if cfg.data.shapes is not None:
        distributed.on_main(lambda: draw_shapes_dataset(cfg.data))
    train, val = detectron2_data.read_splits(cfg)
    names = (f"rb_{cfg.name}_train", f"rb_{cfg.name}_val")
    file = Path(cfg.output) / detectron2_folder.ANNOTATIONS
    for name, dataset in zip(names, (train, val), strict=True):
        detectron2_data.register(name, dataset, file)
    node = to_detectron2(cfg, num_classes=len(train.class_names), device=device)
    node.DATASETS.TRAIN, node.DATASETS.TEST = (names[0],), (names[1],)
    if cfg.model.mask and detectron2_data.has_bitmaps(train):
        node.INPUT.MASK_FORMAT = "bitmask"
    node.freeze()
    classes = {
        "class_names": json.dumps(train.class_names),
        "category_ids": json.dumps(train.category_ids),
    }
    return _Prepared(node, classes, val)


def _train(cfg: Config, prepared: _Prepared, *, resume: bool) -> None:
    default_setup(prepared.node, None)
    file = Path(cfg.output) / detectron2_folder.ANNOTATIONS
    content = partial(detectron2_data.coco_content, prepared.val)
    distributed.on_main(lambda: storage.write_json(file, content()))
    trainer = Trainer(prepared.node, cfg, prepared.classes)
    trainer.resume_or_load(resume=resume)
    try:
        trainer.train()
    except FloatingPointError as error:
        raise DivergedError(f"{error} Earlier checkpoints are in {cfg.output}") from error


def _join_detectron2(device: str) -> None:
    """Sets up detectron2's process groups for the ranks that torchrun started."""
    if distributed.world_size() == 1:
        return
    if device == "cpu":
        raise ConfigError("device is cpu, but detectron2 supports several ranks only on GPUs")
    if comm._LOCAL_PROCESS_GROUP is None:
        comm.create_local_process_group(int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _with_backbone_weights(cfg: Config) -> Config:
    """Moves backbone weights in `model.weights` to the backbone; refuses a whole detector."""
    source = cfg.model.weights
    if source is None:
        return cfg
    if read_weights(source, cfg.model.backbone.name).kind == "detector":
        raise ConfigError(
            f"model.weights: found {source}, a whole detector; engine detectron2 expects a"
            " backbone, and continues its own checkpoints with --resume"
        )
    backbone = cfg.model.backbone.model_copy(update={"weights": source})
    model = cfg.model.model_copy(update={"backbone": backbone, "weights": None})
    return cfg.model_copy(update={"model": model})
