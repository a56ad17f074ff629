"""Names that other frameworks have for our keys and metrics, so that errors can name ours."""

from __future__ import annotations

import re
from collections.abc import Collection

# Our key -> other frameworks' names for it, without their sections, in lower case with "_".
# A name may stand for several keys; those that a task does not have are left out.
KEYS = {
    "solver.lr": "learning_rate base_lr init_lr initial_lr max_lr blr rate",
    "solver.epochs": "num_epochs max_epochs n_epochs total_epochs epoch nepochs train_epochs",
    "solver.max_iter": "max_iters max_steps num_steps total_steps train_steps iterations iters "
    "num_iterations num_iters total_iters steps",
    "solver.milestones": "lr_steps decay_steps decay_epochs lr_milestones lr_drop step_size "
    "lr_step_size step steps",
    "solver.gamma": "lr_gamma lr_decay decay_rate lr_factor",
    "solver.schedule": "lr_scheduler lr_scheduler_name lr_policy scheduler sched lr_schedule",
    "solver.warmup_iters": "warmup warmup_steps lr_warmup_epochs warmup_length",
    "solver.warmup_factor": "warmup_lr warmup_ratio lr_warmup_decay warmup_start_factor",
    "solver.min_lr": "eta_min lr_min final_lr base_lr_end",
    "solver.optimizer": "optim opt optimizer_type optimizer_name",
    "solver.momentum": "beta sgd_momentum",
    "solver.weight_decay": "wd l2 decay",
    "solver.weight_decay_norm": "norm_weight_decay norm_decay_mult",
    "solver.weight_decay_bias": "bias_weight_decay bias_decay_mult",
    "solver.batch_size": "b ims_per_batch total_batch_size train_batch_size samples_per_gpu bs "
    "batchsize batch_size_per_gpu images_per_gpu imgs_per_gpu per_gpu_batch_size",
    "evaluation.batch_size": "val_batch_size test_batch_size eval_batch_size",
    "solver.amp": "fp16 bf16 use_amp mixed_precision precision",
    "model.backbone.norm": "sync_bn sync_batchnorm norm_cfg",
    "solver.clip_grad_norm": "grad_clip clip_grad max_grad_norm clip_gradients gradient_clip_val",
    "solver.accumulate": "grad_accum gradient_accumulation gradient_accumulation_steps accum_iter "
    "accumulate_grad_batches accumulation_steps",
    "solver.ema_decay": "ema model_ema model_ema_decay ema_momentum",
    "data.root": "data_path data_dir data_root dataset_root dataset dataset_dir",
    "data.train.annotations": "ann_file annotation_file annotations_file train_json",
    "data.val.annotations": "ann_file annotation_file annotations_file val_json",
    "data.train.images": "img_prefix image_dir img_dir train_dir train_images_dir",
    "data.val.images": "img_prefix image_dir img_dir val_dir val_images_dir",
    "data.min_sizes": "img_size image_size input_size img_scale min_size min_size_train",
    "data.max_size": "img_size image_size input_size img_scale max_size_train",
    "data.size": "img_size image_size input_size crop_size train_crop_size",
    "data.test_min_size": "min_size_test",
    "data.test_max_size": "max_size_test",
    "data.test_size": "val_crop_size test_crop_size val_size",
    "data.test_resize": "val_resize_size test_resize_size",
    "data.mixup": "mixup_alpha",
    "data.cutmix": "cutmix_alpha",
    "data.flip": "hflip flip_prob random_flip horizontal_flip",
    "data.workers": "j num_workers n_workers nworkers workers_per_gpu dataloader_workers",
    "data.auto_augment": "aa autoaugment rand_augment randaugment",
    "data.random_erase": "reprob random_erasing",
    "model.label_smoothing": "smoothing label_smooth",
    "model.stochastic_depth": "drop_path drop_path_rate",
    "model.backbone.stochastic_depth": "drop_path drop_path_rate",
    "model.backbone.name": "a model depth arch architecture_name model_name network",
    "model.name": "a depth arch model_name network backbone architecture",
    "model.weights": "load_from init_checkpoint init_weights checkpoint_path finetune",
    "model.backbone.weights": "pretrained weights_backbone pretrained_backbone",
    "model.backbone.freeze_at": "frozen_stages freeze_backbone trainable_layers "
    "trainable_backbone_layers",
    "model.num_classes": "nc nclasses nb_classes n_classes classes",
    "model.mask": "mask_on with_mask masks",
    "model.roi.score_threshold": "score_thresh score_thr score_thresh_test box_score_thresh "
    "conf_thres",
    "model.roi.nms_threshold": "nms_thresh nms_thr nms_thresh_test box_nms_thresh iou_thres",
    "model.rpn.nms_threshold": "rpn_nms_thresh",
    "evaluation.period": "eval_period eval_interval val_interval eval_freq val_period val_freq",
    "evaluation.patience": "early_stopping early_stop_patience",
    "checkpoint.period": "checkpoint_period checkpoint_interval save_interval save_freq",
    "checkpoint.keep": "max_to_keep max_keep_ckpts save_total_limit",
    "log_period": "log_interval log_every print_freq print_every vis_period",
    "output": "output_dir work_dir out_dir save_dir log_dir logdir exp_dir",
    "seed": "random_seed manual_seed",
    "device": "gpu use_gpu accelerator",
}

# Our key -> ultralytics' (YOLO's) name, of its "Configuration" page.
ULTRALYTICS = {
    "data.root": "data",
    "data.flip": "fliplr",
    "data.auto_augment": "auto_augment",
    "data.cutmix": "cutmix",
    "data.min_sizes": "imgsz",
    "data.max_size": "imgsz",
    "data.mixup": "mixup",
    "data.random_erase": "erasing",
    "data.size": "imgsz",
    "data.workers": "workers",
    "device": "device",
    "evaluation.patience": "patience",
    "evaluation.max_detections": "max_det",
    "model.backbone.freeze_at": "freeze",
    "model.name": "model",
    "model.roi.detections_per_image": "max_det",
    "model.roi.nms_threshold": "iou",
    "model.roi.score_threshold": "conf",
    "model.weights": "pretrained",
    "name": "name",
    "output": "project",
    "checkpoint.period": "save_period",
    "seed": "seed",
    "solver.amp": "amp",
    "solver.batch_size": "batch",
    "solver.epochs": "epochs",
    "solver.lr": "lr0",
    "solver.min_lr": "lrf",
    "solver.momentum": "momentum",
    "solver.optimizer": "optimizer",
    "solver.reference_batch_size": "nbs",
    "solver.schedule": "cos_lr",
    "solver.warmup_factor": "warmup_bias_lr",
    "solver.warmup_iters": "warmup_epochs",
    "solver.weight_decay": "weight_decay",
}

# Our metric -> other names for it, in lower case with "_" for all separators.
METRICS = {
    "bbox/AP": "ap map box_ap box_map boxes_ap bbox_map metrics_map50_95_b",
    "bbox/AP50": "ap50 map50 map_50 box_ap50 box_map50 bbox_map_50 bbox_map50",
    "bbox/AP75": "ap75 map75 map_75 box_ap75 bbox_map_75 bbox_map75",
    "segm/AP": "ap map mask_ap mask_map masks_ap segm_map",
    "segm/AP50": "ap50 map50 map_50 mask_ap50 mask_map50 segm_map_50 segm_map50",
    "segm/AP75": "ap75 map75 map_75 mask_ap75 segm_map_75 segm_map75",
    "classification/top1_error": "top1 top_1 acc acc1 acc_1 accuracy top1_acc top1_accuracy "
    "top1_error err1 val_acc val_accuracy val_error eval_top1",
    "classification/top5_error": "top5 top_5 acc5 acc_5 top5_acc top5_accuracy top5_error err5",
    "error": "train_error train_acc train_accuracy training_error",
    "loss": "train_loss training_loss total_loss",
    "val_loss": "validation_loss valid_loss test_loss eval_loss",
    "lr": "learning_rate rate",
}


def keys_for(name: str, known: Collection[str]) -> list[str]:
    """Returns those of the `known` dotted keys for which others have this name, in any case."""
    plain = name.lower().replace("-", "_")
    names = {key: [*KEYS.get(key, "").split(), ULTRALYTICS.get(key)] for key in KEYS | ULTRALYTICS}
    return [key for key in names if key in known and plain in names[key]]


def metrics_for(name: str, known: Collection[str]) -> list[str]:
    """Returns those of the `known` metrics for which others have this name, in any case."""
    plain = _plain(name)
    same = [metric for metric in known if _plain(metric) == plain]
    return same or [metric for metric in known if plain in METRICS.get(metric, "").split()]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
