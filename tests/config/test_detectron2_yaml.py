"""detectron2's YAML as a configuration of ours."""

import math
from pathlib import Path

import pytest
from detectron2_files import BASE, errors_of, write

from resnet_backbone.cli import train as train_command
from resnet_backbone.config.detectron2_keys import KEYS
from resnet_backbone.config.load import dump_config, load_config
from resnet_backbone.detection.build import build_detector
from resnet_backbone.engine.schedule import learning_rate, scale_to_batch
from resnet_backbone.errors import ConfigError, WeightsError

ON_BASE = '_BASE_: "../base.yaml"\n'


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with base.yaml; returns a function that writes models/run.yaml on top of it."""
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    write(tmp_path / "base.yaml", BASE)
    return lambda text="": write(tmp_path / "models" / "run.yaml", ON_BASE + text)


# --- what is taken over ---


def test_files_on_bases_become_our_configuration(project):
    cfg = load_config(project("MODEL: {MASK_ON: True}\nSOLVER: {BASE_LR: 0.02}"))
    assert (cfg.name, cfg.output) == ("run", "output/run")
    assert cfg.model.architecture == "fpn"
    assert cfg.model.mask
    assert cfg.model.roi.box_pooler_resolution == 7
    assert cfg.model.rpn.anchors.sizes == ((32,), (64,), (128,), (256,), (512,))
    assert cfg.data.min_sizes == (640, 672)
    assert cfg.data.train.images == "train2017"
    assert cfg.data.train.annotations == "annotations/instances_train2017.json"
    assert cfg.data.val.annotations == "annotations/instances_val2017.json"
    assert cfg.solver.lr == 0.02


def test_what_no_file_says_is_detectron2s_default_not_ours(project):
    """Read from its config/defaults.py by hand."""
    cfg = load_config(project())
    backbone, pixels, rpn, solver = (
        *(cfg.model.backbone, cfg.model.pixels),
        *(cfg.model.rpn, cfg.solver),
    )
    assert (backbone.name, backbone.norm, backbone.freeze_at) == ("resnet50", "FrozenBN", 2)
    assert backbone.stride_in_1x1 is True
    assert (cfg.model.weights, backbone.weights) == (None, None)
    assert (pixels.channel_order, pixels.std) == ("BGR", (1, 1, 1))
    assert pixels.mean == (103.53, 116.28, 123.675)
    assert (rpn.pre_nms_topk_train, rpn.pre_nms_topk_test) == (12000, 6000)
    assert (rpn.post_nms_topk_train, rpn.post_nms_topk_test) == (1000, 1000)
    assert (solver.lr, solver.max_iter, solver.milestones) == (0.001, 40000, (30000,))
    assert (solver.warmup_iters, solver.warmup_factor) == (1000, 1 / 1000)
    assert (solver.batch_size, solver.reference_batch_size) == (16, 16)
    assert (cfg.model.num_classes, cfg.seed, cfg.data.workers) == (80, 0, 4)
    assert (cfg.evaluation.period, cfg.device) == (0, "auto")


def test_the_default_model_is_c4(tmp_path):
    datasets = "{TRAIN: [coco_2017_train], TEST: [coco_2017_val]}"
    cfg = load_config(write(tmp_path / "c4.yaml", f"DATASETS: {datasets}"))
    assert cfg.model.architecture == "c4"
    assert cfg.model.roi.box_pooler_resolution == 14
    assert cfg.model.rpn.anchors.sizes == ((32, 64, 128, 256, 512),)
    assert cfg.data.min_sizes == (800,)


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("INPUT: {RANDOM_FLIP: none}", "data.flip", 0.0),
        ("INPUT: {FORMAT: RGB}", "model.pixels.channel_order", "RGB"),
        ("DATALOADER: {FILTER_EMPTY_ANNOTATIONS: False}", "data.keep_empty", True),
        ("SOLVER: {AMP: {ENABLED: True}}", "solver.amp", "fp16"),
        ("SOLVER: {LR_SCHEDULER_NAME: WarmupCosineLR}", "solver.schedule", "cosine"),
        ("SOLVER: {BASE_LR: 1e-4}", "solver.lr", 1e-4),
        ("SOLVER: {MAX_ITER: 500, STEPS: []}", "solver.warmup_iters", 500),
        ("SEED: 7", "seed", 7),
        ("OUTPUT_DIR: runs/a", "output", "runs/a"),
        ("MODEL: {DEVICE: cpu}", "device", "cpu"),
        ("MODEL: {WEIGHTS: a/model_final.pth}", "model.weights", "a/model_final.pth"),
        ("MODEL: {RESNETS: {NORM: GN}}", "model.backbone.norm", "GN"),
        ("MODEL: {ANCHOR_GENERATOR: {SIZES: [32]}}", "model.rpn.anchors.sizes", ((32,),)),
        (
            "MODEL: {ANCHOR_GENERATOR: {ASPECT_RATIOS: [[0.5, 2.0], [0.5, 2.0]]}}",
            "model.rpn.anchors.aspect_ratios",
            (0.5, 2.0),
        ),
        (
            "MODEL: {RESNETS: {DEFORM_ON_PER_STAGE: [False, True, True, True], "
            "DEFORM_MODULATED: True}}",
            "model.backbone.deformable",
            ("res3", "res4", "res5"),
        ),
        ("MODEL: {RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64}}", "model.backbone.name", "resnet18"),
        (
            "MODEL: {RESNETS: {DEPTH: 101, NUM_GROUPS: 32, WIDTH_PER_GROUP: 8}}",
            "model.backbone.name",
            "resnext101_32x8d",
        ),
        ("MODEL: {RESNETS: {WIDTH_PER_GROUP: 128}}", "model.backbone.name", "wide_resnet50_2"),
    ],
)
def test_single_keys(project, text, key, value):
    tree = load_config(project(text)).model_dump()
    for part in key.split("."):
        tree = tree[part]
    assert tree == value


def test_parts_that_are_off_may_say_anything(project):
    text = """
MODEL:
  ROI_MASK_HEAD: {NORM: GN, POOLER_TYPE: ROIAlign}
  ROI_KEYPOINT_HEAD: {NUM_KEYPOINTS: 3}
  RETINANET: {NUM_CLASSES: 2}
  SEM_SEG_HEAD: {NORM: ""}
  PANOPTIC_FPN: {COMBINE: {ENABLED: False}}
  ROI_BOX_CASCADE_HEAD: {IOUS: [0.9]}
TEST: {EXPECTED_RESULTS: [[bbox, AP, 38.5, 0.2]], AUG: {FLIP: False}}
VIS_PERIOD: 100
CUDNN_BENCHMARK: True
FLOAT32_PRECISION: highest
"""
    assert load_config(project(text)) == load_config(project())


def test_c4_has_no_heads_whose_keys_it_would_read(tmp_path):
    text = """
MODEL:
  RESNETS: {RES5_DILATION: 2}
  ROI_BOX_HEAD: {NAME: FastRCNNConvFCHead, NUM_CONV: 4, NORM: GN}
  FPN: {NORM: GN}
DATASETS: {TRAIN: [coco_2017_train], TEST: [coco_2017_val]}
"""
    assert load_config(write(tmp_path / "c4.yaml", text)).model.architecture == "c4"


def test_datasets_lie_where_detectron2_looks_for_them(project, monkeypatch):
    assert load_config(project()).data.root == "datasets/coco"
    monkeypatch.setenv("DETECTRON2_DATASETS", "/data")
    assert load_config(project()).data.root == "/data/coco"


def test_what_was_translated_reads_back(project, tmp_path):
    cfg = load_config(project("MODEL: {MASK_ON: True}"), ["data.workers=0"])
    assert load_config(write(tmp_path / "copy.yaml", dump_config(cfg))) == cfg


def test_names_that_only_detectron2_can_download_say_where_to_get_the_file(project):
    cfg = load_config(
        project('MODEL: {WEIGHTS: "detectron2://ImageNetPretrained/MSRA/R-50.pkl"}'),
    )
    url = "https://dl.fbaipublicfiles.com/detectron2/ImageNetPretrained/MSRA/R-50.pkl"
    with pytest.raises(WeightsError, match=url):
        build_detector(cfg)


# --- overrides ---


def test_overrides_are_our_keys_or_theirs_and_ours_hold(project):
    overrides = ["MODEL.MASK_ON=True", "SOLVER.BASE_LR=0.5", "solver.lr=0.25", "INPUT.FORMAT='RGB'"]
    cfg = load_config(project(), overrides)
    assert cfg.model.mask
    assert cfg.solver.lr == 0.25
    assert cfg.model.pixels.channel_order == "RGB"
    assert cfg.overrides == tuple(overrides)


def test_sections_may_be_overridden_as_mappings(project):
    cfg = load_config(project(), ["SOLVER={BASE_LR: 0.5, MAX_ITER: 2000, STEPS: '(1500,)'}"])
    assert (cfg.solver.lr, cfg.solver.max_iter, cfg.solver.milestones) == (0.5, 2000, (1500,))
    assert load_config(project(), ["SOLVER.STEPS=(1500, 1600)"]).solver.milestones == (1500, 1600)


def test_solver_numbers_hold_for_detectron2s_batch_and_are_scaled_only_away_from_it(project):
    path = project("SOLVER: {IMS_PER_BATCH: 4, BASE_LR: 0.01}")
    for world_size in (1, 2, 4):
        solver = scale_to_batch(load_config(path), world_size).solver
        assert (solver.batch_size, solver.lr, solver.max_iter) == (4, 0.01, 40000)
    halved = scale_to_batch(load_config(path, ["solver.batch_size=2"]), 1).solver
    assert (halved.lr, halved.max_iter, halved.milestones) == (0.005, 80000, (60000,))


def test_other_data_are_given_by_our_keys(project):
    path = project("DATASETS: {TRAIN: [mine], TEST: [mine_val]}")
    splits = [
        *("data.root=here", "data.train.images=a", "data.train.annotations=a.json"),
        "data.val={images: b, annotations: b.json}",
    ]
    cfg = load_config(path, splits)
    assert (cfg.data.root, cfg.data.train.images, cfg.data.val.images) == ("here", "a", "b")
    (error,) = errors_of(path, splits[:-1])
    assert error.startswith("DATASETS.TEST (run.yaml, line 2): found ['mine_val'], expected one of")
    assert error.endswith("for other data set data.val.images=... and data.val.annotations=...")


# --- what is refused ---


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            "MODEL: {META_ARCHITECTURE: RetinaNet}",
            "MODEL.META_ARCHITECTURE ({}): found 'RetinaNet', expected 'GeneralizedRCNN'",
        ),
        ("MODEL: {KEYPOINT_ON: True}", "MODEL.KEYPOINT_ON ({}): found true, expected false"),
        (
            "MODEL: {ROI_HEADS: {NAME: CascadeROIHeads}}",
            "MODEL.ROI_HEADS.NAME ({}): found 'CascadeROIHeads', expected 'StandardROIHeads' "
            "with FPN",
        ),
        (
            "MODEL: {BACKBONE: {NAME: build_regnet_fpn_backbone}}",
            "MODEL.BACKBONE.NAME ({}): found 'build_regnet_fpn_backbone', expected "
            "'build_resnet_backbone' or 'build_resnet_fpn_backbone'",
        ),
        (
            "MODEL: {RPN: {SMOOTH_L1_BETA: 0.5}}",
            "MODEL.RPN.SMOOTH_L1_BETA ({}): found 0.5, expected 0.0",
        ),
        (
            "MODEL: {MASK_ON: True, ROI_MASK_HEAD: {NORM: GN}}",
            "MODEL.ROI_MASK_HEAD.NORM ({}): found 'GN', expected ''",
        ),
        (
            "MODEL: {RPN: {NMS_THRESHOLD: 0.5}}",
            "MODEL.RPN.NMS_THRESHOLD ({}): unknown key; did you mean MODEL.RPN.NMS_THRESH?",
        ),
        (
            "MODEL: {NUM_CLASSES: 3}",
            "MODEL.NUM_CLASSES ({}): unknown key; did you mean MODEL.ROI_HEADS.NUM_CLASSES or "
            "MODEL.SEM_SEG_HEAD.NUM_CLASSES or MODEL.RETINANET.NUM_CLASSES?",
        ),
        ("solver: {lr: 1}", "solver ({}): unknown key; detectron2 has no similar key"),
        ("SOLVER: 3", "SOLVER ({}): found 3, expected a section"),
        ("SOLVER: {MAX_ITER: many}", "SOLVER.MAX_ITER ({}): found 'many', expected an integer"),
        ("SOLVER: {BASE_LR: True}", "SOLVER.BASE_LR ({}): found true, expected a number"),
        ("MODEL: {MASK_ON: 1}", "MODEL.MASK_ON ({}): found 1, expected true or false"),
        ("INPUT: {MIN_SIZE_TRAIN: 800}", "INPUT.MIN_SIZE_TRAIN ({}): found 800, expected a list"),
        (
            "INPUT: {MIN_SIZE_TEST: 0}",
            "data.test_min_size ({}, INPUT.MIN_SIZE_TEST): found 0, expected a value greater "
            "than 0",
        ),
        ("VERSION: 1", "VERSION ({}): found 1, expected 2"),
        (
            "INPUT: {FORMAT: L}",
            "INPUT.FORMAT ({}): found 'L', expected one of 'BGR', 'RGB'",
        ),
        (
            "MODEL: {ROI_HEADS: {IOU_THRESHOLDS: [0.4, 0.5]}}",
            "MODEL.ROI_HEADS.IOU_THRESHOLDS ({}): found [0.4, 0.5], expected one entry",
        ),
        (
            "MODEL: {ANCHOR_GENERATOR: {SIZES: [[32], [64]]}}",
            "MODEL.ANCHOR_GENERATOR.SIZES ({}): found [(32,), (64,)], expected one list, or one "
            "for each of 5 maps",
        ),
        (
            "MODEL: {ANCHOR_GENERATOR: {ASPECT_RATIOS: [[0.5], [1.0]]}}",
            "MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS ({}): found [(0.5,), (1,)], expected one list, "
            "the same for all feature maps",
        ),
        (
            "MODEL: {RESNETS: {DEPTH: 51}}",
            "MODEL.RESNETS.DEPTH ({}): found 51, expected one of 18, 34, 50, 101, 152",
        ),
        (
            "MODEL: {RESNETS: {NUM_GROUPS: 64}}",
            "MODEL.RESNETS.NUM_GROUPS ({}): found 64, expected 1 or 32 with DEPTH 50",
        ),
        (
            "MODEL: {RESNETS: {NUM_GROUPS: 32, WIDTH_PER_GROUP: 8}}",
            "MODEL.RESNETS.WIDTH_PER_GROUP ({}): found 8, expected 4 with DEPTH 50, NUM_GROUPS 32",
        ),
        (
            "MODEL: {RESNETS: {DEPTH: 34}}",
            "MODEL.RESNETS.RES2_OUT_CHANNELS (detectron2's default): found 256, expected 64 with "
            "DEPTH 34",
        ),
        (
            "MODEL: {RESNETS: {DEFORM_ON_PER_STAGE: [False, False, False, True]}}",
            "MODEL.RESNETS.DEFORM_MODULATED (detectron2's default): found false, expected true, "
            "because only deformable convolution v2 is supported",
        ),
        (
            "MODEL: {RESNETS: {DEFORM_ON_PER_STAGE: [True]}}",
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE ({}): found [True], expected true or false for "
            "each of res2 to res5",
        ),
        (
            "SOLVER: {STEPS: [1000]}",
            "SOLVER.STEPS ({}): found [1000], expected steps after the warm-up, which ends at 1000",
        ),
        (
            "SOLVER: {STEPS: [3000, 2000]}",
            "solver.milestones ({}, SOLVER.STEPS): found [3000, 2000], expected ascending steps",
        ),
    ],
)
def test_errors_name_the_key_and_the_line(project, text, error):
    assert errors_of(project(text)) == [error.replace("{}", "run.yaml, line 2")]


def test_all_errors_come_together(project):
    path = project("MODEL: {KEYPOINT_ON: True}\nSOLVER: {NESTEROV: True, LR: 1}")
    overrides = ["TEST.AUG.ENABLED=True", "INPUT.FORMAT=[", "solver.lrr=1", "data.workers"]
    errors = errors_of(path, overrides)
    named = (
        *("SOLVER.LR (run.yaml, line 3)", "INPUT.FORMAT (command line)"),
        *("MODEL.KEYPOINT_ON (run.yaml, line 2)", "SOLVER.NESTEROV (run.yaml, line 3)"),
        *("TEST.AUG.ENABLED (command line)", "'data.workers' (command line)"),
        "solver.lrr (command line)",
    )
    assert len(errors) == len(named)
    assert all(any(error.startswith(name) for error in errors) for name in named)


ODD = [
    "",
    "3",
    "-1",
    "0.5",
    ".nan",
    "1e400",
    "True",
    "x",
    "[]",
    "[[]]",
    "[x]",
    "[{a: 1}]",
    "{a: 1}",
]


@pytest.mark.parametrize("value", [*ODD, "'{1: 2}'", "'(1, [2, {3}])'", f"'{'(' * 500}'"])
def test_odd_values_are_errors_or_fine_but_never_crash(project, value):
    """Each alone and all together; a key that decides about others is among the former only."""
    path = project("MODEL: {MASK_ON: True}")
    refused = 0
    for arguments in [[f"{key}={value}"] for key in KEYS if KEYS[key].target is None] + [
        [f"{key}={value}" for key in KEYS if key != "MODEL.META_ARCHITECTURE"]
    ]:
        try:
            load_config(path, arguments)
        except ConfigError:
            refused += 1
    assert refused > 20


def test_another_architecture_is_one_error_not_dozens(project):
    text = "MODEL: {META_ARCHITECTURE: PanopticFPN, MASK_ON: True, KEYPOINT_ON: True}"
    assert len(errors_of(project(text))) == 1


def test_their_keys_over_our_files_are_unknown():
    with pytest.raises(ConfigError, match=r"MODEL \(command line\): unknown key"):
        load_config("quickstart", ["MODEL.MASK_ON=True"])


def test_a_drawn_training_runs_from_a_detectron2_yaml(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = project("""
MODEL:
  MASK_ON: True
  BACKBONE: {FREEZE_AT: 0}
  RESNETS: {DEPTH: 18, RES2_OUT_CHANNELS: 64, NORM: BN}
  FPN: {OUT_CHANNELS: 16}
  ANCHOR_GENERATOR: {SIZES: [[8], [16], [32], [64], [128]]}
  ROI_BOX_HEAD: {FC_DIM: 16}
  ROI_MASK_HEAD: {NUM_CONV: 1, CONV_DIM: 16}
  ROI_HEADS: {NUM_CLASSES: 4, BATCH_SIZE_PER_IMAGE: 16}
INPUT: {MIN_SIZE_TRAIN: [64], MAX_SIZE_TRAIN: 64, MIN_SIZE_TEST: 64, MAX_SIZE_TEST: 64}
SOLVER: {IMS_PER_BATCH: 2, MAX_ITER: 3, STEPS: [], WARMUP_ITERS: 1}
DATALOADER: {NUM_WORKERS: 0}
""")
    shapes = "data.shapes={train_images: 4, val_images: 2, image_size: 64, max_shapes: 2}"
    splits = [
        "data.train={images: train, annotations: train.json}",
        "data.val={images: val, annotations: val.json}",
    ]
    arguments = ["--config", str(path), "data.root=shapes", shapes, *splits, "device=cpu"]
    train_command.main(arguments)
    assert (tmp_path / "output" / "run" / "metrics.jsonl").read_text().count('"loss') >= 1


# --- against detectron2 itself ---


@pytest.fixture(scope="session")
def detectron2():
    return pytest.importorskip(
        "detectron2", reason="detectron2 is not on PYTHONPATH; it has no package, see README"
    )


@pytest.fixture(scope="session")
def zoo(detectron2):
    folder = Path(detectron2.__file__).parents[1] / "configs"
    if not folder.is_dir():
        pytest.skip("detectron2 is installed without the configs of its checkout")
    return folder


TWINS = [
    (
        f"{folder}/{stem}_R_{depth}_{tail}_{schedule}.yaml",
        f"coco_{ours}_r{depth}{'' if tail == 'FPN' else '_' + tail.lower()}"
        + ("_3x" if schedule == "3x" else ""),
    )
    for folder, stem, ours in (
        ("COCO-Detection", "faster_rcnn", "frcnn"),
        ("COCO-InstanceSegmentation", "mask_rcnn", "mrcnn"),
    )
    for depth in (50, 101)
    for tail in ("C4", "DC5", "FPN")
    for schedule in ("1x", "3x")
    if (depth, schedule) != (101, "1x")  # which detectron2 does not have
]
# Ours start from torchvision's weights and have other habits in what does not decide the result.
WEIGHTS = {"weights", "pixels", "backbone", "num_classes"}


@pytest.mark.parametrize(("theirs", "ours"), TWINS, ids=[ours for _, ours in TWINS])
def test_their_files_and_our_twins_agree(zoo, theirs, ours):
    # C4 has no box head that would read this key.
    equal = ["model.roi.box_fc_layers=2"] if "C4" in theirs else []
    found, expected = load_config(zoo / theirs, equal), load_config(ours)
    assert found.model.model_dump(exclude=WEIGHTS) == expected.model.model_dump(exclude=WEIGHTS)
    own = {"weights", "stride_in_1x1"}
    assert found.model.backbone.model_dump(exclude=own) == expected.model.backbone.model_dump(
        exclude=own
    )
    batch = {"batch_size"}
    assert found.solver.model_dump(exclude=batch) == expected.solver.model_dump(exclude=batch)
    assert found.data.model_dump(exclude={"workers"}) == expected.data.model_dump(
        exclude={"workers"}
    )
    depth = found.model.backbone.name.removeprefix("resnet")
    assert found.model.weights == f"detectron2://ImageNetPretrained/MSRA/R-{depth}.pkl"
    assert found.model.backbone.stride_in_1x1 is True
    assert found.model.num_classes == 80


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("COCO-Detection/retinanet_R_50_FPN_1x.yaml", "MODEL.META_ARCHITECTURE"),
        ("COCO-Detection/rpn_R_50_FPN_1x.yaml", "MODEL.META_ARCHITECTURE"),
        ("COCO-Detection/fast_rcnn_R_50_FPN_1x.yaml", "MODEL.LOAD_PROPOSALS"),
        ("COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x.yaml", "MODEL.KEYPOINT_ON"),
        ("COCO-PanopticSegmentation/panoptic_fpn_R_50_1x.yaml", "MODEL.META_ARCHITECTURE"),
        ("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x_giou.yaml", "MODEL.RPN.BBOX_REG_LOSS"),
        ("Misc/cascade_mask_rcnn_R_50_FPN_1x.yaml", "MODEL.ROI_HEADS.NAME"),
        ("Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic.yaml", "MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK"),
        ("Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5.yaml", "MODEL.RESNETS.DEFORM_MODULATED"),
        ("Misc/mask_rcnn_R_50_FPN_3x_gn.yaml", "MODEL.FPN.NORM"),
        ("LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml", "DATASETS.TRAIN"),
        ("Cityscapes/mask_rcnn_R_50_FPN.yaml", "DATASETS.TRAIN"),
    ],
)
def test_their_other_models_are_refused_by_name(zoo, name, key):
    with pytest.raises(ConfigError) as caught:
        load_config(zoo / name)
    assert key in str(caught.value)


def test_resnext_is_theirs_too(zoo):
    cfg = load_config(zoo / "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x.yaml")
    assert cfg.model.backbone.name == "resnext101_32x8d"
    assert cfg.model.backbone.stride_in_1x1 is False
    assert cfg.model.pixels.std == (57.375, 57.12, 58.395)


@pytest.mark.parametrize(
    ("solver", "tolerance"),
    [
        ("{MAX_ITER: 300, STEPS: [200, 250], WARMUP_ITERS: 50}", 1e-9),
        ("{MAX_ITER: 300, STEPS: [200], WARMUP_ITERS: 50, GAMMA: 0.5, WARMUP_FACTOR: 0.2}", 1e-9),
        ("{MAX_ITER: 300, STEPS: [], WARMUP_ITERS: 0}", 1e-9),
        ("{MAX_ITER: 300, STEPS: [400]}", 1e-9),
        # detectron2 draws a straight line to where the cosine will be; ours follows the cosine.
        ("{MAX_ITER: 300, LR_SCHEDULER_NAME: WarmupCosineLR, WARMUP_ITERS: 3}", 1e-4),
    ],
)
def test_the_rate_of_every_step_is_detectron2s(project, detectron2, solver, tolerance):
    import torch
    from detectron2.config import get_cfg
    from detectron2.solver import build_lr_scheduler

    path = project(f"SOLVER: {solver}")
    ours = scale_to_batch(load_config(path), 1).solver
    theirs = get_cfg()
    theirs.merge_from_file(str(path))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=theirs.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(theirs, optimizer)
    for step in range(ours.max_iter):
        rate = optimizer.param_groups[0]["lr"]
        close = math.isclose(learning_rate(ours, step), rate, rel_tol=0, abs_tol=tolerance * 1e-3)
        assert close, step
        optimizer.step()
        scheduler.step()


def test_an_unsupported_architecture_is_named_before_the_tag_that_its_file_has(tmp_path):
    """As detectron2's Base-RetinaNet.yaml, also below _BASE_."""
    (tmp_path / "Base-RetinaNet.yaml").write_text(
        "MODEL:\n"
        '  META_ARCHITECTURE: "RetinaNet"\n'
        "  ANCHOR_GENERATOR:\n"
        '    SIZES: !!python/object/apply:eval ["[[x, x * 2] for x in [32, 64]]"]\n'
    )
    (tmp_path / "retinanet.yaml").write_text("_BASE_: Base-RetinaNet.yaml\n")
    for name in ("Base-RetinaNet.yaml", "retinanet.yaml"):
        with pytest.raises(ConfigError, match="META_ARCHITECTURE: found 'RetinaNet'") as caught:
            load_config(tmp_path / name)
        assert "tags" not in str(caught.value)
