"""Everything that a step of training changes, and its way into files and back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from resnet_backbone.engine.optimizer import AveragedWeights
from resnet_backbone.errors import StorageError
from resnet_backbone.utils.tensors import pack

MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
AVERAGE_FILE = "average.safetensors"
STATE_FILE = "state.json"
_GROUP = "group_step"
FILES = (MODEL_FILE, OPTIMIZER_FILE, AVERAGE_FILE, STATE_FILE)


@dataclass
class Progress:
    """How far a run is; plain numbers that go into the checkpoint as they are.

    Attributes:
        step: Optimizer steps done.
        best: The best result so far; None before there was one.
        best_step: After how many steps that was.
        without_improvement: Evaluations since.
        history: The results of all evaluations, smaller ones better; what a plateau is seen in.
        warm: Warm-up is over that lasts until the training error has fallen.
        evaluation_pending: The step done last is still to be evaluated. Checkpoints are taken
            before evaluations, so that a signal in one loses nothing; a resumed run does it first.
        window: Sums of the losses since the last log line.
        window_steps: How many steps these are.
    """

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    without_improvement: int = 0
    evaluation_pending: bool = False
    history: list[float] = field(default_factory=list)
    warm: bool = False
    window: dict[str, float] = field(default_factory=dict)
    window_steps: int = 0

    def judge(self, score: float | None, *, lower_is_better: bool) -> bool:
        """Takes note of an evaluation's result; returns whether it is the best so far."""
        sign = 1.0 if lower_is_better else -1.0
        if score is not None:
            self.history.append(sign * score)
        if score is None or (self.best is not None and sign * score >= sign * self.best):
            self.without_improvement += 1
            return False
        self.best, self.best_step, self.without_improvement = score, self.step, 0
        return True


@dataclass
class TrainState:
    """What has to be saved so that training goes on as if it had not stopped.

    The learning rate is a function of the step, the data order one of seed and step: neither has
    state of its own.

    Attributes:
        model: Not wrapped by DDP.
        optimizer: Over the model's trainable parameters.
        scaler: Scales the loss where gradients are fp16; disabled otherwise.
        average: Averaged weights, if the run keeps them.
        progress: See there.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedWeights | None
    progress: Progress = field(default_factory=Progress)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Returns all tensors by file and name, not copied."""
        files = {MODEL_FILE: self.model.state_dict(), OPTIMIZER_FILE: self._slots()}
        if self.average is not None:
            files[AVERAGE_FILE] = self.average.tensors
        return files

    def size(self) -> int:
        """Returns about how many bytes a checkpoint takes, also before the first step."""
        weights = sum(t.nbytes for file in self.tensors().values() for t in file.values())
        slots = 1 if isinstance(self.optimizer, torch.optim.SGD) else 2
        trained = (p for group in self.optimizer.param_groups for p in group["params"])
        return weights + (0 if self.optimizer.state else slots * sum(p.nbytes for p in trained))

    def to_files(self, about: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
        """Yields names and contents of a checkpoint's files.

        Args:
            about: JSON values to store along: what the state belongs to.
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
        """Takes over what `to_files` wrote, into tensors of the same memory layout as before.

        Raises:
            StorageError: the files belong to another model or other settings.
        """
        record = read_state_record(files)
        own = self.tensors()
        _fill(own[MODEL_FILE], safetensors.torch.load(files[MODEL_FILE]), MODEL_FILE)
        if self.average is not None and AVERAGE_FILE in files:
            average = safetensors.torch.load(files[AVERAGE_FILE])
            _fill(self.average.tensors, average, AVERAGE_FILE)
        self._set_slots(safetensors.torch.load(files[OPTIMIZER_FILE]))
        if self.scaler.is_enabled() and record["scaler"]:
            self.scaler.load_state_dict(record["scaler"])
        self.progress = Progress(**record["progress"])

    def _slots(self) -> dict[str, Tensor]:
        """The optimizer's tensors, under "momentum_buffer/backbone.conv1.weight" and the like."""
        slots = {
            f"{slot}/{name}": value
            for name, parameter in self.model.named_parameters()
            for slot, value in self.optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }
        # LAMB counts its steps once for all parameters of a group.
        counts = {
            f"{_GROUP}/{index}": group["step"]
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
                self.optimizer.param_groups[int(name)]["step"] = value
                continue
            if name not in parameters:
                raise StorageError(f"{OPTIMIZER_FILE}: the model has no parameter {name!r}")
            parameter = parameters[name]
            # AdamW's step counts are read on the host; everything else lies like its parameter.
            if slot != "step":
                value = torch.empty_like(parameter, requires_grad=False).copy_(value)
            self.optimizer.state[parameter][slot] = value


def read_state_record(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Returns what is not tensors: "progress", "scaler", and "about" as given to `to_files`."""
    return json.loads(files[STATE_FILE])


@torch.no_grad()
def _fill(own: Mapping[str, Tensor], saved: Mapping[str, Tensor], file: str) -> None:
    """Copies by name; nothing may be left over on either side."""
    wrong = sorted(own.keys() ^ saved.keys()) or [
        f"{name} {list(saved[name].shape)} instead of {list(own[name].shape)}"
        for name in own
        if saved[name].shape != own[name].shape
    ]
    if wrong:
        raise StorageError(
            f"{file}: belongs to another model; {len(wrong)} tensors do not fit: "
            f"{', '.join(wrong[:5])}"
        )
    for name, tensor in own.items():
        tensor.copy_(saved[name])
