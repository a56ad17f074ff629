"""The shipped files of classifiers: headers, and the numbers they stand for."""

import itertools
import re
from pathlib import Path

import pytest

from resnet_backbone.backbone.variants import get_variant
from resnet_backbone.config.load import list_configs, load_classification_config
from resnet_backbone.paper import cost, published

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NAMES = [name for name in list_configs() if name.startswith(("imagenet", "cifar10", "pretrain"))]
TRAINING_IMAGES = 1_281_167  # of ImageNet
PAPERS = ["r18", "r18_a", "r34", "r34_a", "r34_c", "r50", "r101", "r152", "plain18", "plain34"]


def header_of(path: Path) -> str:
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    return " ".join(" ".join(line.lstrip("# ") for line in lines).split())


def test_all_files_are_accounted_for():
    cifar = [f"cifar10_r{depth}" for depth in (20, 32, 44, 56, 110, 1202)]
    cifar += [f"cifar10_plain{depth}" for depth in (20, 32, 44, 56)]
    others = ["r50_90ep", "r50_v2", "r50_a1", "r50_a2", "r50_a3", "r50_fast"]
    imagenet = [f"imagenet_{name}" for name in (*PAPERS, *others)]
    assert sorted(NAMES) == sorted([*cifar, *imagenet, "pretrain_quickstart"])


@pytest.mark.parametrize("name", NAMES)
def test_headers_state_command_cost_and_aim_and_networks_exist(name):
    header = header_of(CONFIGS / f"{name}.yaml")
    assert header.startswith(f"python tools/pretrain.py --config {name}.yaml")
    assert re.search(r"Time: \S.*\d", header)
    assert re.search(r"(top-1|error|figure)", header)
    get_variant(load_classification_config(name).model.name)


@pytest.mark.parametrize(
    ("name", "schedule", "table"),
    [(f"imagenet_{name}", published.IMAGENET_SCHEDULE, published.TABLE_3) for name in PAPERS]
    + [(name, published.CIFAR_SCHEDULE, published.TABLE_6) for name in NAMES if "cifar" in name],
)
def test_headers_of_the_papers_recipes_state_its_errors_and_the_cost(name, schedule, table):
    header = header_of(CONFIGS / f"{name}.yaml")
    network = load_classification_config(name).model.name
    for row in (*published.TABLE_2.rows, *table.rows):
        if row.network == network:
            assert re.search(rf"(?<!\d){row.value:.2f}(?!\d)", header), row
    hours = cost.training_hours(network, schedule)
    digits = 0 if schedule.dataset == "imagenet" else 1
    assert f"about {hours:.{digits}f} GPU-hours" in header


@pytest.mark.parametrize("name", ["90ep", "v2", "a1", "a2", "a3", "fast"])
def test_headers_of_later_recipes_state_the_cost_by_pixels(name):
    cfg = load_classification_config(f"imagenet_r50_{name}")
    begins = cfg.data.progressive or ((0, cfg.data.size),)
    ends = [*(step for step, _ in begins[1:]), cfg.solver.max_iter]
    pixels = sum((end - begin) * size**2 for (begin, size), end in zip(begins, ends, strict=True))
    _, rate = cost.IMAGENET_RATE
    hours = pixels * cfg.solver.batch_size / 224**2 / rate / 3600
    assert f"about {hours:.{1 if hours < 5 else 0}f} GPU-hours" in header_of(
        CONFIGS / f"imagenet_r50_{name}.yaml"
    )


@pytest.mark.parametrize("name", PAPERS)
def test_the_papers_recipe(name):
    """He et al. 2016, section 3.4, read by hand."""
    cfg = load_classification_config(f"imagenet_{name}")
    data, solver = cfg.data, cfg.solver
    assert (data.crop, data.short_side, data.size, data.flip) == (
        "scale_jitter",
        (256, 480),
        224,
        0.5,
    )
    assert data.pca_color == 0.1
    assert (solver.optimizer, solver.batch_size, solver.lr) == ("sgd", 256, 0.1)
    assert (solver.momentum, solver.weight_decay, solver.weight_decay_norm) == (0.9, 1e-4, 1e-4)
    assert (solver.schedule, solver.gamma, solver.max_iter) == ("plateau", 0.1, 600_000)
    assert solver.warmup_iters == 0 and not solver.nesterov
    assert (cfg.model.norm, cfg.model.loss, cfg.model.stride_in_1x1) == ("BN", "ce", True)
    nothing = (data.mixup, data.cutmix, data.random_erase, cfg.model.label_smoothing)
    assert nothing == (0, 0, 0, 0) and data.auto_augment is None and data.repeats == 1


@pytest.mark.parametrize(
    ("name", "epochs", "batch"),
    [("90ep", 90, 256), ("v2", 600, 1024), ("a1", 600, 2048), ("a2", 300, 2048)]
    + [("a3", 100, 2048), ("fast", 16, 1024)],
)
def test_epochs_are_steps_of_whole_batches(name, epochs, batch):
    solver = load_classification_config(f"imagenet_r50_{name}").solver
    assert (solver.batch_size, solver.reference_batch_size) == (batch, batch)
    assert solver.max_iter == epochs * (TRAINING_IMAGES // batch)


def test_torchvisions_second_recipe():
    """pytorch/vision, issue 3995, read by hand."""
    cfg = load_classification_config("imagenet_r50_v2")
    data, solver = cfg.data, cfg.solver
    assert (data.size, data.test_resize, data.test_size) == (176, 232, 224)
    assert (data.auto_augment, data.random_erase) == ("trivial", 0.1)
    assert (data.mixup, data.cutmix, data.repeats) == (0.2, 1.0, 4)
    assert (solver.lr, solver.weight_decay, solver.weight_decay_norm) == (0.5, 2e-5, 0)
    assert cfg.model.label_smoothing == 0.1 and solver.schedule == "cosine"
    # model_ema_decay 0.99998 every 32 steps, adjusted there by batch size and epochs.
    adjusted = (1 - 0.99998) * 1024 * 32 / 600
    assert 1 - solver.ema_decay == pytest.approx(adjusted / 32, rel=0.01)


@pytest.mark.parametrize(
    ("name", "lr", "decay", "mixup", "smoothing", "depth", "size"),
    [
        ("a1", 5e-3, 0.01, 0.2, 0.1, 0.05, 224),
        ("a2", 5e-3, 0.02, 0.1, 0.0, 0.05, 224),
        ("a3", 8e-3, 0.02, 0.1, 0.0, 0.0, 160),
    ],
)
def test_resnet_strikes_back(name, lr, decay, mixup, smoothing, depth, size):
    """arXiv 2110.00476, table 2, read by hand."""
    cfg = load_classification_config(f"imagenet_r50_{name}")
    data, solver, model = cfg.data, cfg.solver, cfg.model
    assert (solver.optimizer, solver.lr, solver.weight_decay) == ("lamb", lr, decay)
    assert (data.mixup, data.cutmix, data.size) == (mixup, 1.0, size)
    assert (model.loss, model.label_smoothing, model.stochastic_depth) == ("bce", smoothing, depth)
    assert (data.repeats, data.test_size) == (1 if name == "a3" else 3, 224)


@pytest.mark.parametrize("name", ["a1", "a2", "a3"])
def test_what_the_procedures_of_resnet_strikes_back_share(name):
    """Its table 2; warm-up from timm's 1e-4; compared with mmpretrain's configurations."""
    cfg = load_classification_config(f"imagenet_r50_{name}")
    data, solver = cfg.data, cfg.solver
    assert data.auto_augment == f"rand-m{6 if name == 'a3' else 7}-mstd0.5-inc1"
    assert (data.crop, data.interpolation, data.random_erase) == ("random_resized", "bicubic", 0)
    assert data.test_size / data.test_resize == pytest.approx(0.95, abs=0.002)
    assert (solver.schedule, solver.min_lr, solver.weight_decay_norm) == ("cosine", 1e-6, 0)
    assert solver.warmup_iters == 5 * (TRAINING_IMAGES // 2048)
    assert solver.warmup_factor * solver.lr == pytest.approx(1e-4)


def test_the_fast_recipe_has_ffcvs_numbers():
    """libffcv/ffcv-imagenet, rn50_configs/rn50_16_epochs.yaml, read by hand: 8 x 512 images."""
    cfg = load_classification_config("imagenet_r50_fast")
    data, solver, epoch = cfg.data, cfg.solver, TRAINING_IMAGES // 1024
    assert solver.lr == 1.7 * 1024 / (8 * 512)
    assert (solver.weight_decay, solver.weight_decay_norm, solver.momentum) == (1e-4, 0, 0.9)
    assert (solver.warmup_iters, solver.warmup_factor) == (2 * epoch, 1e-4)
    # Between epochs 11 and 13 its ramp knows multiples of 32 alone, and epoch 12 has 192 already.
    assert data.progressive == ((0, 160), (12 * epoch, 192))
    assert (data.test_resize, data.test_size) == (int(256 / (224 / 256)), 256)
    assert cfg.model.label_smoothing == 0.1 and not cfg.model.zero_init_residual


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("cifar10")])
def test_the_papers_cifar_recipe(name):
    """He et al. 2016, section 4.2, read by hand."""
    cfg = load_classification_config(name)
    data, solver = cfg.data, cfg.solver
    assert (data.crop, data.padding, data.size, data.flip) == ("pad", 4, 32, 0.5)
    assert (solver.batch_size, solver.lr, solver.weight_decay) == (128, 0.1, 1e-4)
    assert (solver.milestones, solver.max_iter, solver.gamma) == ((32_000, 48_000), 64_000, 0.1)
    assert cfg.model.mean_image == "auto"
    warm = (solver.warmup_until_error, solver.warmup_factor * solver.lr)
    assert warm == (0.8, pytest.approx(0.01)) if name == "cifar10_r110" else warm[0] is None
