"""The state of training, and how it is written to and read from files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import safetensors.torch
import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from resnet_backbone.engine.optimizer import AveragedWeights
from resnet_backbone.errors import StorageError
from resnet_backbone.utils.tensors import pack
from resnet_backbone.utils.text import count_of

MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
AVERAGE_FILE = "average.safetensors"
STATE_FILE = "state.json"
_GROUP = "group_step"
FILES = (MODEL_FILE, OPTIMIZER_FILE, AVERAGE_FILE, STATE_FILE)


Count = Annotated[int, Field(ge=0, lt=2**53)]


@dataclass
class Progress:
    """The progress of a run, in plain numbers that the checkpoint stores.

    Attributes:
        step: Optimizer steps done.
        best: The best value of the metric so far; None before the first.
        best_step: The step at which it was reached.
        without_improvement: Number of evaluations since then.
        evaluation_pending: Whether the evaluation of the current step is still to be done. The
            checkpoint is saved before the evaluation, so that a signal during the evaluation loses
            nothing; a resumed run starts with it.
        history: The metric of all evaluations, with a sign such that lower is better; used to
            detect a plateau.
        warm: Whether the warm-up that depends on the training error is over.
        window: Sums of the losses since the last log line.
        window_steps: Number of steps in these sums.
    """

    step: Count = 0
    best: float | None = None
    best_step: Count | None = None
    without_improvement: Count = 0
    evaluation_pending: bool = False
    history: list[float] = field(default_factory=list)
    warm: bool = False
    window: dict[str, float] = field(default_factory=dict)
    window_steps: Count = 0

    def judge(self, score: float | None, *, lower_is_better: bool) -> bool:
        """Records the metric of an evaluation; returns whether it is the best so far."""
        sign = 1.0 if lower_is_better else -1.0
        if score is not None:
            self.history.append(sign * score)
        if score is None or (self.best is not None and sign * score >= sign * self.best):
            self.without_improvement += 1
            return False
        self.best, self.best_step, self.without_improvement = score, self.step, 0
        return True

    def forget_scores(self) -> None:
        """Forgets all evaluations so far, because later ones cannot be compared with them."""
        self.best, self.best_step, self.without_improvement = None, None, 0
        self.history = []


class _Record(BaseModel):
    """The content of `STATE_FILE`."""

    about: dict[str, Any]
    progress: Progress
    scaler: dict[str, Any]


@dataclass
class TrainState:
    """What must be saved for training to continue as if it had not been interrupted.

    The learning rate depends only on the step, and the order of the data only on seed and step, so
    neither has any state.

    Attributes:
        model: The model, not wrapped by DDP.
        optimizer: The optimizer of the model's trainable parameters.
        scaler: The loss scaler for fp16; disabled otherwise.
        average: The averaged weights, if `solver.ema_decay` is set.
        progress: The step and the results so far.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedWeights | None
    progress: Progress = field(default_factory=Progress)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Returns all tensors, by file and name, without copying them."""
        files = {MODEL_FILE: self.model.state_dict(), OPTIMIZER_FILE: self._slots()}
        if self.average is not None:
            files[AVERAGE_FILE] = self.average.tensors
        return files

    def size(self) -> int:
        """Returns the approximate size of a checkpoint in bytes, even before the first step."""
        weights = sum(t.nbytes for file in self.tensors().values() for t in file.values())
        slots = 1 if isinstance(self.optimizer, torch.optim.SGD) else 2
        trained = (p for group in self.optimizer.param_groups for p in group["params"])
        return weights + (0 if self.optimizer.state else slots * sum(p.nbytes for p in trained))

    def to_files(self, about: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
        """Yields the name and content of each file of a checkpoint.

        Args:
            about: JSON values to store with it: configuration, dataset, random generators.
        """
        for name, tensors in self.tensors().items():
            yield name, pack(tensors)
        record = {
            "about": dict(about),
            "progress": asdict(self.progress),
            "scaler": self.scaler.state_dict(),
        }
        yield STATE_FILE, json.dumps(record).encode()

    def from_files(self, files: Mapping[str, bytes]) -> None:
        """Restores what `to_files` wrote; tensors keep their memory format.

        Raises:
            StorageError: the files belong to another model or to other settings.
        """
        record = read_state_record(files)
        try:
            self._restore(record, files)
        except (LookupError, TypeError, ValueError, RuntimeError, SafetensorError) as error:
            raise StorageError(
                f"the checkpoint does not fit this run: {type(error).__name__}: {error}"
            ) from error

    def _restore(self, record: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
        own = self.tensors()
        _fill(own[MODEL_FILE], safetensors.torch.load(files[MODEL_FILE]), MODEL_FILE)
        if self.average is not None:
            average = safetensors.torch.load(files[AVERAGE_FILE])
            _fill(self.average.tensors, average, AVERAGE_FILE)
        self._set_slots(safetensors.torch.load(files[OPTIMIZER_FILE]))
        if self.scaler.is_enabled() and record["scaler"]:
            self.scaler.load_state_dict(record["scaler"])
        self.progress = Progress(**record["progress"])

    def _slots(self) -> dict[str, Tensor]:
        """Returns the optimizer's tensors, by "momentum_buffer/backbone.conv1.weight" etc."""
        slots = {
            f"{slot}/{name}": value
            for name, parameter in self.model.named_parameters()
            for slot, value in self.optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }
        # LAMB keeps one step count per parameter group: a tensor or, of an older timm, an integer.
        counts = {
            f"{_GROUP}/{index}": torch.as_tensor(group["step"])
            for index, group in enumerate(self.optimizer.param_groups)
            if "step" in group
        }
        return slots | counts

    def _set_slots(self, saved: Mapping[str, Tensor]) -> None:
        parameters = dict(self.model.named_parameters())
        self.optimizer.state.clear()
        for key, value in saved.items():
            slot, _, name = key.partition("/")
            if slot == _GROUP:
                count = value if value.is_floating_point() else value.item()
                self.optimizer.param_groups[int(name)]["step"] = count
                continue
            if name not in parameters:
                raise StorageError(f"{OPTIMIZER_FILE}: the model has no parameter {name!r}")
            parameter = parameters[name]
            # AdamW's step count has no layout; other slots have their parameter's.
            if slot == "step":
                value = value.to(parameter.device)
            else:
                value = torch.empty_like(parameter, requires_grad=False).copy_(value)
            self.optimizer.state[parameter][slot] = value


def read_state_record(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Returns everything but the tensors: "progress", "scaler", and "about" (see `to_files`).

    Raises:
        StorageError: it is not what `to_files` writes.
    """
    content = files.get(STATE_FILE, b"")
    try:
        _Record.model_validate_json(content, strict=True)
    except ValidationError as error:
        (found, *_) = error.errors()
        place = ".".join(map(str, found["loc"])) or "the file"
        raise StorageError(f"{STATE_FILE}: {place}: {found['msg']}") from error
    return json.loads(content)


@torch.no_grad()
def _fill(own: Mapping[str, Tensor], saved: Mapping[str, Tensor], file: str) -> None:
    """Copies tensors by name; the names must be the same on both sides."""
    wrong = sorted(own.keys() ^ saved.keys()) or [
        f"{name} has shape {list(saved[name].shape)}, expected {list(own[name].shape)}"
        for name in own
        if saved[name].shape != own[name].shape
    ]
    if wrong:
        raise StorageError(
            f"{file}: belongs to another model, as {count_of(len(wrong), 'tensor')} show: "
            f"{', '.join(wrong[:5])}"
        )
    for name, tensor in own.items():
        tensor.copy_(saved[name])
