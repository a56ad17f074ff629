"""A task so small that a run takes a second, with the contract of the real one; also a script.

`python toy.py` serves: it reads JSON lines that describe runs (see `one_run`), answers each with
the process id of a fork that does it, and {"wait": id} with its exit code, negative for a signal.
So torch is imported once. `python toy.py JOB` does one run.
"""

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resnet_backbone.cli.runner import exit_code
from resnet_backbone.config.schema import Config
from resnet_backbone.engine import state as state_module
from resnet_backbone.engine.evaluation import EvaluationResult
from resnet_backbone.engine.train import train_task
from resnet_backbone.errors import DataError
from resnet_backbone.structures import Batch, Detections, Targets
from resnet_backbone.tasks.detection.evaluate import evaluate_detector
from resnet_backbone.tasks.detection.task import DetectionTask
from resnet_backbone.utils import distributed, seed

SIDE = 8
CLASSES = ("circle", "square")
VAL_IMAGES = 6

# What goes wrong in a run, and when: see the uses below.
OPTIONS: dict[str, object] = {}


def image(key: int) -> Tensor:
    generator = torch.Generator().manual_seed(key)
    return torch.randint(0, 256, (3, SIDE, SIDE), generator=generator, dtype=torch.uint8)


def batch_of(keys: list[int]) -> Batch:
    count = len(keys)
    classes = torch.tensor([[key % 2] for key in keys])
    targets = Targets(
        boxes=torch.ones(count, 1, 4),
        classes=classes,
        valid=torch.ones(count, 1, dtype=torch.bool),
        keys=torch.tensor(keys),
    )
    sizes = torch.full((count, 2), SIDE)
    images = torch.stack([image(key) for key in keys])
    return Batch(images, sizes, [(SIDE, SIDE)] * count, keys, targets)


class ToyModel(nn.Module):
    """Two convolutions; "coupled" adds what makes images and steps depend on each other."""

    def __init__(self, coupled: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4) if coupled else nn.GroupNorm(2, 4)
        self.drop = nn.Dropout(0.2 if coupled else 0.0)
        self.head = nn.Linear(4, 3)
        self.calls = 0

    def forward(self, batch: Batch):
        return self.losses(batch) if self.training else self.detect(batch)

    def scores(self, batch: Batch) -> Tensor:
        x = self.norm(self.conv(batch.images / 255 - 0.5)).relu().mean((2, 3))
        return self.head(self.drop(x))

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        scores = self.scores(batch)
        loss = F.cross_entropy(scores[:, :2], batch.targets.classes[:, 0])
        self.calls += self.training
        if self.calls == OPTIONS.get("nan_at") and distributed.rank() == OPTIONS.get("on_rank", 0):
            loss = loss * float("nan")
        if self.calls == OPTIONS.get("broken_at") and distributed.rank() == OPTIONS.get("on_rank"):
            loss = loss + (0 * scores[:, 0]).abs().sqrt().sum()  # 0, with the derivative 0 / 0
        return {"loss_cls": loss, "loss_box_reg": scores[:, 2].square().mean()}

    def detect(self, batch: Batch) -> list[Detections]:
        scores = self.scores(batch).softmax(1)
        return [
            Detections(key, (SIDE, SIDE), torch.ones(1, 4), scores[i, :1], torch.tensor([0]))
            for i, key in enumerate(batch.image_ids)
        ]


class ToyEvaluator:
    """The "AP" is some function of all weights, or what "ap" says by step."""

    per_class: dict = {}
    errors: dict = {}
    explanation = None
    details = None

    def __init__(self) -> None:
        self.rounds = 0
        self.reset()

    def reset(self) -> None:
        self.scores = {}

    def process(self, detections) -> None:
        self.scores |= {found.image_id: float(found.scores[0]) for found in detections}

    def evaluate(self) -> dict[str, dict[str, float]]:
        merged = {}
        for share in distributed.all_gather_object(self.scores):
            merged |= share
        self.rounds += 1
        series = OPTIONS.get("ap")
        mean = sum(merged[key] for key in sorted(merged)) / len(merged)
        return {"bbox": {"AP": series[self.rounds - 1] if series else mean}}


class ToyLoader:
    def __init__(self, keys: list[int]) -> None:
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Batch]:
        for index, key in enumerate(self.keys):
            if index == OPTIONS.get("signal_in_evaluation"):
                os.kill(os.getpid(), OPTIONS.pop("signal", signal.SIGTERM))
                OPTIONS.pop("signal_in_evaluation")
            yield batch_of([key])


def fail(how: str) -> None:
    """Fails as a user's data may, as a bug, or as a process that is killed."""
    if OPTIONS.get("attempt", "0") != os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"):
        return
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise DataError("image 7: cannot be read") if how == "data" else KeyError("a bug")


class ToyTask(DetectionTask):
    score = "bbox/AP"
    category_ids = (1, 5)

    def __init__(self, cfg: Config, device: torch.device, weights=None) -> None:
        self.cfg, self.device = cfg, device
        self.class_names = CLASSES + tuple(OPTIONS.get("more_classes", ()))
        self.fingerprint = {
            "train": OPTIONS.get("fingerprint", "same"),
            "val": OPTIONS.get("validation", "same"),
        }
        self.model = ToyModel(coupled=OPTIONS.get("coupled", True)).to(device)
        self.evaluator = ToyEvaluator()

    training_images = 100

    def evaluated_on(self) -> str:
        return "six images"

    def label_counts(self) -> dict[str, int]:
        return {"circle": 50, "square": 50}

    @classmethod
    def check_files(cls, cfg: Config) -> None:
        """Its images are made up."""

    def training_batches(self, step: int) -> Iterator[Batch]:
        solver = self.cfg.solver
        while True:
            step += 1
            if step == OPTIONS.get("signal_at"):
                os.kill(os.getpid(), OPTIONS.get("signal", signal.SIGTERM))
            if step == OPTIONS.get("fail_at") and distributed.rank() == OPTIONS.get("on_rank", 0):
                fail(OPTIONS["how"])
            if "seconds_per_step" in OPTIONS:
                time.sleep(OPTIONS["seconds_per_step"])
            first = 1000 * self.cfg.seed + step * solver.batch_size
            keys = list(range(first, first + solver.batch_size))
            keys = keys[distributed.rank() :: distributed.world_size()]
            for part in range(solver.accumulate):
                yield batch_of(keys[part :: solver.accumulate])

    def evaluate(self, should_stop: Callable[[], bool]) -> EvaluationResult:
        keys = list(range(VAL_IMAGES))[distributed.rank() :: distributed.world_size()]
        return evaluate_detector(
            self.model,
            ToyLoader(keys),
            self.evaluator,
            self.device,
            with_loss=True,
            should_stop=should_stop,
        )

    def skipped(self) -> dict[str, list[str]]:
        return {"train": list(OPTIONS.get("skipped", ())), "val": []}

    def draw_labels(self, file) -> None:
        """There are none in files."""

    def draw_progress(self, folder, name) -> None:
        (folder / "pictures" / name).mkdir(parents=True, exist_ok=True)

    def export(self, folder, result) -> None:
        (folder / "pictures").mkdir(exist_ok=True)


BASE = {
    "device": "cpu",  # several ranks cannot share a GPU
    "log_period": 2,
    "solver": {
        "batch_size": 4,
        "scale": False,
        "max_iter": 12,
        "milestones": [],
        "warmup_iters": 3,
        "lr": 0.05,
        "amp": "off",  # the same on every processor
    },
    "evaluation": {"period": 4},
    "checkpoint": {"period": 3},
}


def config(output, **sections) -> Config:
    tree = {**BASE, "output": str(output)}
    for name, value in sections.items():
        tree[name] = tree.get(name, {}) | value if isinstance(value, dict) else value
    return Config.model_validate(tree)


@contextmanager
def toy_task(**options) -> Iterator[None]:
    """Lets go wrong in a run of the toy what `options` say, while the block runs."""
    OPTIONS.clear()
    OPTIONS.update(options)
    try:
        yield
    finally:
        OPTIONS.clear()


def die_at_write(number: int) -> None:
    """Kills this process before its n-th call that changes what is on disk."""
    count = 0

    def counting(function):
        def call(*arguments, **named):
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return call

    os.fsync = counting(os.fsync)
    for name in ("open", "rename", "replace", "mkdir", "rmdir", "unlink"):
        setattr(Path, name, counting(getattr(Path, name)))


def forget(what: str) -> None:
    """Breaks one part of restoring a checkpoint."""
    restore = state_module.TrainState.from_files

    def broken(state, files) -> None:
        average = {name: tensor.clone() for name, tensor in state.average.tensors.items()}
        restore(state, files)
        if what == "momentum":
            state.optimizer.state.clear()
        elif what == "average":
            state.average.tensors = average
        elif what == "window":
            state.progress.window, state.progress.window_steps = {}, 0

    state_module.TrainState.from_files = broken
    if what == "generators":
        seed.set_state = lambda state: None


def one_run(job: dict) -> int:
    os.environ.update(job.get("environment", {}))
    torch.set_num_threads(1)
    if "die_at_write" in job:
        die_at_write(job["die_at_write"])
    if "file_limit" in job:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job["file_limit"], job["file_limit"]))
    if "forget" in job.get("options", {}):
        forget(job["options"]["forget"])
    task = DetectionTask if job.get("real") else ToyTask
    with toy_task(**job.get("options", {})):
        cfg = config(job["output"], **job.get("sections", {}))
        flags = {name: job.get(name, False) for name in ("resume", "overwrite")}
        return exit_code(lambda _: train_task(task, cfg, **flags) and None)


def serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
        if answer == 0 and "wait" not in request:
            with open(request["stderr"], "a") as stream:
                os.dup2(stream.fileno(), 2)
                code = one_run(request)
                sys.stderr.flush()
            os._exit(code)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(one_run(json.loads(sys.argv[1])))
    serve()
