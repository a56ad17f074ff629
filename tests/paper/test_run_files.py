"""What is read of a finished run's folder, and what makes its recipe another than the paper's."""

import json

import pytest
from finished_runs import write_evaluation, write_json, write_run

from resnet_backbone.config.classification_schema import ClassificationConfig
from resnet_backbone.config.strict_yaml import write_text
from resnet_backbone.errors import ConfigError, StorageError
from resnet_backbone.paper.run_files import (
    CIFAR,
    IMAGENET,
    PAPERS,
    Metrics,
    errors_of,
    more_tests,
    read_config,
)

# Another value than the paper's for each of the keys.
OTHER = {
    "data.mixup": 0.2,
    "data.cutmix": 1.0,
    "data.auto_augment": "trivial",
    "data.random_erase": 0.25,
    "data.repeats": 3,
    "data.progressive": ((0, 128),),
    "data.flip": 0.25,
    "model.weights": "/home/someone/secret/w.safetensors",
    "model.norm": "GN",
    "model.loss": "bce",
    "model.label_smoothing": 0.1,
    "model.stochastic_depth": 0.05,
    "model.zero_init_residual": True,
    "solver.optimizer": "lamb",
    "solver.momentum": 0.8,
    "solver.weight_decay": 5e-4,
    "solver.weight_decay_norm": 0.0,
    "solver.weight_decay_bias": 0.0,
    "solver.nesterov": True,
    "solver.clip_grad_norm": 1.0,
    "solver.ema_decay": 0.999,
    "data.crop": "random_resized",
    "data.size": 160,
    "data.short_side": (256, 320),
    "data.pca_color": 0.0,
    "data.padding": 2,
    "model.stride_in_1x1": False,
}
ON_IMAGENET = {"data": {"pca_color": 0.1}, "model": {"stride_in_1x1": True}}
ON_CIFAR = {"data": {"format": "cifar10", "crop": "pad", "size": 32}}


def written(folder, recipe=ON_IMAGENET, **sections):
    """config.yaml as the engine writes it, of a run by the paper's recipe but for `sections`."""
    tree = ClassificationConfig(name="mine").model_dump()
    for changes in (recipe, sections):
        for name, values in changes.items():
            tree[name] |= values
    cfg = ClassificationConfig.model_validate(tree)
    file = folder / "config.yaml"
    file.write_text(write_text(cfg.model_dump(mode="json")))
    return file


def changed(key):
    section, _, name = key.partition(".")
    return {section: {name: OTHER[key]}}


def test_the_papers_recipe_has_no_extras(tmp_path):
    found = read_config(written(tmp_path))
    assert found.extras == ()
    assert (found.name, found.seed, found.device, found.model.name) == (
        "mine",
        0,
        "auto",
        "resnet50",
    )
    solver = found.solver
    assert (solver.schedule, solver.max_iter, solver.lr) == ("plateau", 600_000, 0.1)
    assert (solver.milestones, solver.batch_size) == ((), 256)
    data = found.data
    assert (data.root, data.format, data.train) == ("datasets/imagenet", "folders", ("train",))
    assert (data.val, data.hold_out) == (("val",), 0)


def test_the_papers_recipe_on_cifar_has_no_extras(tmp_path):
    assert read_config(written(tmp_path, ON_CIFAR)).extras == ()


@pytest.mark.parametrize(
    ("key", "recipe"),
    [(key, ON_IMAGENET) for key in PAPERS | IMAGENET] + [(key, ON_CIFAR) for key in CIFAR],
)
def test_every_other_value_is_named_with_its_key(tmp_path, key, recipe):
    (extra,) = read_config(written(tmp_path, recipe, **changed(key))).extras
    assert extra.partition(" ")[0] == key
    value = json.loads(json.dumps(OTHER[key]))
    # Of a file, that there is one says enough; where it lies is the machine's matter.
    assert extra == ("model.weights" if key == "model.weights" else f"{key} {value}")


def test_other_values_come_together_in_the_order_of_the_keys(tmp_path):
    sections = {"data": {"mixup": 0.2, "repeats": 3}, "model": {"loss": "bce"}}
    found = read_config(written(tmp_path, **sections))
    assert found.extras == ("data.mixup 0.2", "data.repeats 3", "model.loss bce")


def test_shared_statistics_are_the_papers_too(tmp_path):
    assert read_config(written(tmp_path, model={"norm": "SyncBN"})).extras == ()


def test_keys_that_a_file_does_not_have_are_the_papers(tmp_path):
    """As of runs that are older than the key."""
    file = written(tmp_path)
    lines = [line for line in file.read_text().split("\n") if "ema_decay" not in line]
    file.write_text("\n".join(lines))
    assert read_config(file).extras == ()


def test_files_that_are_no_classifiers_configuration(tmp_path):
    file = tmp_path / "config.yaml"
    with pytest.raises(ConfigError, match=r"config\.yaml: cannot be read"):
        read_config(file)
    for text, task in (("name: x", "detection"), ("task: other", "other")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=f"task is {task}; only runs of task classif"):
            read_config(file)
    file.write_text("task: classification\nname: x\nseed: 0\ndevice: cpu\n")
    with pytest.raises(StorageError, match=r"config\.yaml: data: Field required; model: Field req"):
        read_config(file)


def test_errors_are_fractions_and_other_metrics_are_left_out():
    metrics = {"classification": {"top1_error": 0.25, "top5_error": 0.125, "loss": 7}}
    found = errors_of(Metrics.model_validate(metrics))
    assert (found.top1_error, found.top5_error) == (0.25, 0.125)
    alone = Metrics.model_validate({"classification": {"top1_error": 0.25}})
    assert errors_of(alone).top5_error is None
    for value in (91, -0.1, float("nan")):
        with pytest.raises(ValueError, match="top1_error"):
            Metrics.model_validate({"classification": {"top1_error": value}})


@pytest.mark.parametrize(
    ("weights", "counted"),
    [
        (["run/model.safetensors"], True),
        (["/mnt/output/run/model.safetensors"], True),
        (["./output/run/model.safetensors"], True),
        (["other/model.safetensors"], False),
        (["run/backbone.safetensors"], False),
        (["run/best/model.safetensors"], False),
        (["run/model.safetensors", "run/model.safetensors"], False),
        (["run/model.safetensors", "other/model.safetensors"], False),
        ([], False),
    ],
)
def test_only_tests_of_the_runs_own_last_weights_count(tmp_path, weights, counted):
    folder = write_run(tmp_path / "run")
    write_evaluation(folder / "evaluation", "ten_crop", weights, 0.25)
    found = more_tests(folder)
    assert {name: test.top1_error for name, test in found.items()} == (
        {"ten_crop": 0.25} if counted else {}
    )


def test_the_name_of_a_folder_is_that_of_what_it_links_to(tmp_path):
    folder = write_run(tmp_path / "run")
    write_evaluation(folder / "evaluation", "multi_scale", ["run/model.safetensors"], 0.25)
    (tmp_path / "latest").symlink_to(folder)
    assert set(more_tests(tmp_path / "latest")) == {"multi_scale"}


def test_one_crop_is_what_the_run_says_itself_and_no_folder_is_no_test(tmp_path):
    folder = write_run(tmp_path / "run")
    assert more_tests(folder) == {}
    write_evaluation(folder / "evaluation", "single", ["run/model.safetensors"], 0.25)
    assert more_tests(folder) == {}
    write_json(folder / "evaluation" / "results.json", {"testing": "single"})
    with pytest.raises(StorageError, match=r"evaluation/results\.json: weights: Field required"):
        more_tests(folder)
