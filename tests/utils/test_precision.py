import pytest
import torch

from resnet_backbone.errors import ConfigError
from resnet_backbone.utils import precision

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def on_a_processor(monkeypatch, **capabilities):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


class Anywhere:
    """In place of `torch.cuda.device`, which wants a GPU."""

    def __init__(self, device):
        assert device == GPU

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


def on_a_gpu(monkeypatch, *, has_bf16):
    def supported(including_emulation):
        return has_bf16 or including_emulation

    monkeypatch.setattr(torch.cuda, "device", Anywhere)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "an old GPU")


@pytest.mark.parametrize(
    ("capabilities", "fast"),
    [
        ({"avx512_bf16": True, "amx_bf16": True}, True),
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_f": True, "avx512_bw": True, "avx512_bf16": False}, False),  # oneDNN emulates it
        ({"neon": True, "bf16": True}, False),  # ARM names it otherwise; not measured
    ],
)
def test_a_processor_is_fast_at_bf16_if_it_has_instructions_for_it(monkeypatch, capabilities, fast):
    on_a_processor(monkeypatch, **capabilities)
    assert precision.has_fast_bf16(CPU) is fast
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not precision.has_fast_bf16(CPU)


def test_older_versions_of_torch_are_asked_in_their_own_way(monkeypatch):
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    for answer in (True, False):
        monkeypatch.setattr(
            torch.cpu, "_is_avx512_bf16_supported", lambda answer=answer: answer, raising=False
        )
        assert precision.has_fast_bf16(CPU) is answer
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert not precision.has_fast_bf16(CPU)


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_gpu_is_fast_at_bf16_if_it_has_it_without_emulation(monkeypatch, has_bf16):
    on_a_gpu(monkeypatch, has_bf16=has_bf16)
    assert precision.has_fast_bf16(GPU) is has_bf16


def test_what_a_device_does_not_have_is_refused_with_the_key(monkeypatch):
    on_a_gpu(monkeypatch, has_bf16=False)
    for amp in ("auto", "fp16", "off"):
        precision.check(amp, GPU)
    with pytest.raises(ConfigError, match="bf16, which an old GPU does not have; set solver.amp="):
        precision.check("bf16", GPU)
    on_a_processor(monkeypatch)  # without instructions it is slow, but computes
    for amp in ("auto", "bf16", "off"):
        precision.check(amp, CPU)
    with pytest.raises(ConfigError, match="fp16, which needs a GPU; set solver.amp=auto"):
        precision.check("fp16", CPU)


@pytest.mark.parametrize("fast", [True, False])
def test_evaluation_is_in_bf16_where_training_was_and_the_device_is_fast_at_it(monkeypatch, fast):
    on_a_processor(monkeypatch, avx512_bf16=fast)
    faster = "bf16" if fast else "off"
    assert precision.for_inference("auto", CPU) == precision.for_inference("bf16", CPU) == faster
    assert precision.for_inference("fp16", CPU) == precision.for_inference("off", CPU) == "off"


@pytest.mark.parametrize(
    ("amp", "expected"), [("off", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_the_context_sets_the_type_of_matrix_products(amp, expected):
    ones = torch.ones(2, 2)
    with precision.autocast(amp, CPU):
        assert (ones @ ones).dtype is expected
    with pytest.raises(ValueError, match="solver.amp is auto"):
        precision.autocast("auto", CPU)


@pytest.mark.parametrize(
    ("amp", "name"), [("bf16", "bfloat16"), ("fp16", "float16"), ("off", None)]
)
def test_the_log_names_the_type_and_the_key(amp, name, caplog):
    caplog.set_level("INFO")
    precision.log_precision(amp)
    assert caplog.messages == (
        []
        if name is None
        else [
            f"layers compute in {name}, losses and boxes in float32; solver.amp=off: everything in "
            "float32"
        ]
    )
