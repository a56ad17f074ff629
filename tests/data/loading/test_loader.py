import os
import signal
import subprocess
import sys
import time
from itertools import islice

import pytest
import torch
from coco_files import write_many

from resnet_backbone.config.schema import DataConfig
from resnet_backbone.data.coco.build import build_dataset, build_test_loader, build_train_loader
from resnet_backbone.data.loading import loader
from resnet_backbone.errors import DataError

SIZES = [(30, 40), (40, 30), (30, 50), (36, 36), (30, 44), (44, 30), (30, 41), (30, 42), (30, 43)]


def config(root, **changes):
    split = {"images": "images", "annotations": "annotations.json"}
    return DataConfig.model_validate(
        {
            "root": str(root),
            "train": split,
            "val": split,
            "min_sizes": (24, 32, 40),
            "max_size": 64,
            "test_min_size": 32,
            "test_max_size": 64,
            "workers": 0,
        }
        | changes
    )


@pytest.fixture
def root(tmp_path):
    write_many(tmp_path, SIZES)
    return tmp_path


def train_batches(cfg, steps, *, accumulate=1, **options):
    dataset = build_dataset(cfg, "train", with_masks=True, seed=5)
    loader = build_train_loader(
        cfg, dataset, batch_size=4, seed=5, accumulate=accumulate, **options
    )
    return list(islice(loader, steps * accumulate)), dataset


def fingerprint(batch):
    """Everything that a training step could notice, per image."""
    targets = batch.targets
    return [
        (
            image_id,
            int(targets.keys[i]),
            batch.sizes[i].tolist(),
            batch.images[i, :, : batch.sizes[i, 0], : batch.sizes[i, 1]].tolist(),
            targets.boxes[i][targets.valid[i]].tolist(),
            [[polygon.tolist() for polygon in mask] for mask in targets.masks[i]],
        )
        for i, image_id in enumerate(batch.image_ids)
    ]


def stream(cfg, steps, **options):
    return [fingerprint(batch) for batch in train_batches(cfg, steps, **options)[0]]


def test_the_number_of_workers_changes_nothing(root):
    expected = stream(config(root), 6)
    assert len({key for batch in expected for _, key, *_ in batch}) == 24  # all drawn apart
    for workers in (1, 3):
        assert stream(config(root, workers=workers), 6) == expected


def test_the_number_of_ranks_and_micro_batches_changes_nothing(root):
    expected = [image for batch in stream(config(root), 5) for image in batch]
    ranks = [stream(config(root), 5, rank=rank, world_size=2) for rank in (0, 1)]
    assert [image for parts in zip(*ranks, strict=True) for p in parts for image in p] == expected
    micro = stream(config(root), 5, accumulate=2)
    assert [image for batch in micro for image in batch] == expected


@pytest.mark.parametrize("workers", [0, 1])
def test_resuming_gives_the_rest_of_the_uninterrupted_run(root, workers):
    cfg = config(root, workers=workers)
    assert stream(cfg, 4, start_step=3) == stream(config(root), 7)[3:]


def test_an_image_is_augmented_anew_in_every_epoch(root):
    batches = stream(config(root), 12)
    looks = [image for batch in batches for image in batch if image[0] == 1]
    assert len({str(image[2:4]) for image in looks}) > 1


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_evaluation_shows_every_image_once(root, world_size):
    cfg = config(root)
    dataset = build_dataset(cfg, "val", with_masks=True, seed=0)
    for rank in range(world_size):
        loader = build_test_loader(cfg, dataset, batch_size=2, rank=rank, world_size=world_size)
        batches = list(loader)
        seen = [image_id for batch in batches for image_id in batch.image_ids]
        assert seen == list(dataset.image_ids[rank::world_size])
        assert len(batches) == len(loader)
        assert all(batch.targets.valid.any() for batch in batches)
        assert batches[0].original_sizes[0] == SIZES[rank]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_image_is_an_error_without_a_worker_s_traceback(root, workers):
    (root / "images" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    cfg = config(root, workers=workers, check_images=False)
    with pytest.raises(DataError) as raised:
        train_batches(cfg, 12)
    message = str(raised.value)
    assert message.startswith(str(root / "images" / "3.png")) and "Traceback" not in message
    dataset = build_dataset(cfg, "val", with_masks=True, seed=0)
    with pytest.raises(DataError, match="3.png"):
        list(build_test_loader(cfg, dataset, batch_size=2))


def test_unreadable_images_are_skipped_counted_and_listed(root):
    (root / "images" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    cfg = config(root, on_bad_sample="skip")
    batches, dataset = train_batches(cfg, 12)
    assert all(len(batch.image_ids) == 4 and 3 not in batch.image_ids for batch in batches)
    (line,) = dataset.skipped  # once, though several epochs met it
    assert line.startswith(str(root / "images" / "3.png"))


def test_replacements_depend_on_neither_workers_nor_ranks(root):
    (root / "images" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    cfg = config(root, on_bad_sample="skip")
    expected = stream(cfg, 6)
    workers, dataset = train_batches(config(root, on_bad_sample="skip", workers=2), 6)
    assert [fingerprint(batch) for batch in workers] == expected
    assert len(dataset.skipped) == 1  # learned from the workers
    ranks = [stream(cfg, 6, rank=rank, world_size=2) for rank in (0, 1)]
    whole = [[*a, *b] for a, b in zip(*ranks, strict=True)]
    assert whole == expected


def test_skipping_in_evaluation_leaves_the_image_out(root):
    (root / "images" / "3.png").write_bytes(b"x")
    cfg = config(root, on_bad_sample="skip")
    dataset = build_dataset(cfg, "val", with_masks=True, seed=0)
    batches = list(build_test_loader(cfg, dataset, batch_size=1))
    assert [batch.image_ids for batch in batches] == [[i] for i in range(1, 10) if i != 3]
    assert len(dataset.skipped) == 1


def test_a_dataset_of_unreadable_images_ends(root):
    for file in (root / "images").iterdir():
        file.write_bytes(b"x")
    with pytest.raises(
        DataError, match="11 randomly chosen images in a row cannot be read; the last error: .*"
    ):
        train_batches(config(root, on_bad_sample="skip", check_images=False), 1)
    with pytest.raises(DataError, match="9 of 9 images cannot be used"):
        train_batches(config(root, on_bad_sample="skip"), 1)


def test_loading_leaves_torch_s_random_numbers_alone(root):
    before = torch.get_rng_state()
    train_batches(config(root, workers=1), 2)
    assert torch.equal(torch.get_rng_state(), before)


SCRIPT = """
import signal, sys
from test_loader import build_dataset, build_train_loader, config

if __name__ == "__main__":
    cfg = config(sys.argv[1], workers=2)
    dataset = build_dataset(cfg, "train", with_masks=True, seed=0)
    batches = iter(build_train_loader(cfg, dataset, batch_size=2, seed=0))
    if sys.argv[2] == "signals":
        got = []
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *args: got.append(args[0]))
        print("ready", flush=True)
        while len(got) < 2:
            next(batches)
        for _ in range(20):  # more than were prepared before the signals
            next(batches)
    next(batches)
    print("done", flush=True)
    if sys.argv[2] == "raise":
        raise RuntimeError("with batches still referenced")
"""


def start(root, mode):
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])
    }
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(root), mode],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="workers need sigwaitinfo")
def test_workers_leave_signals_to_the_main_process(root):
    with start(root, "signals") as process:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        for number in (signal.SIGTERM, signal.SIGINT):
            os.killpg(process.pid, number)
            time.sleep(0.2)
        out, errors = process.communicate(timeout=60)
    assert out == "done\n" and process.returncode == 0, errors


@pytest.mark.parametrize(("mode", "code"), [("return", 0), ("raise", 1)])
def test_the_process_ends_though_workers_are_waiting(root, mode, code):
    """Workers that ignore the SIGTERM which multiprocessing sends at exit would make it wait."""
    with start(root, mode) as process:
        out, errors = process.communicate(timeout=60)
    assert (out, process.returncode) == ("done\n", code), errors
    with pytest.raises(ProcessLookupError):  # nobody is left of the process group
        os.killpg(process.pid, 0)


def test_more_workers_than_processors_are_mentioned_once(root, caplog, recwarn, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0}, raising=False)
    loader._warn_of_few_processors.cache_clear()
    for _ in range(2):
        train_batches(config(root, workers=2), 1)
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line for line in told if line.startswith("data.")] == [
        "data.workers is 2, more than there are processors: 1"
    ]
    assert not [warning for warning in recwarn if "worker" in str(warning.message)]
