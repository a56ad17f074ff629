import re
from importlib.util import find_spec

import pytest
import torch
import toy

from resnet_backbone.classification.create import create_classifier
from resnet_backbone.classification.image_classifier import ImageClassifier
from resnet_backbone.classification.losses import cross_entropy
from resnet_backbone.config.schema import SolverConfig
from resnet_backbone.engine.optimizer import AveragedWeights, build_optimizer
from resnet_backbone.engine.state import TrainState
from resnet_backbone.engine.step import Stepper
from resnet_backbone.errors import DivergedError
from resnet_backbone.structures import ImageBatch


@pytest.fixture(autouse=True)
def clean_options():
    toy.OPTIONS.clear()
    yield
    toy.OPTIONS.clear()


def make_stepper(solver=None, *, coupled=False, seed=0, average=None, deferred=None, scale=None):
    torch.manual_seed(seed)
    solver = solver or SolverConfig(lr=0.1, weight_decay=0.0, amp="off")
    model = toy.ToyModel(coupled=coupled)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale is not None)
    state = TrainState(
        model,
        build_optimizer(model, solver),
        scaler,
        average and AveragedWeights(model, average),
    )
    return Stepper(state, model, solver, torch.device("cpu"), deferred=deferred)


def break_gradients(stepper, times=None):
    """Multiplies one gradient by NaN in the next `times` backward passes; losses stay finite."""
    left = iter(range(10**6 if times is None else times))
    parameter = stepper.state.model.head.weight
    parameter.register_hook(lambda grad: grad if next(left, None) is None else grad * torch.nan)


def everything(stepper):
    """Weights and the optimizer's state."""
    files = stepper.state.tensors().values()
    return {name: tensor.clone() for file in files for name, tensor in file.items()}


COUNTED = re.compile("group_step/")  # LAMB counts steps on the host


def assert_unchanged(stepper, before, but=None):
    after = everything(stepper)
    assert after.keys() == before.keys()
    compared = [name for name in before if but is None or not but.match(name)]
    assert all(torch.equal(after[name], before[name]) for name in compared)


def weights(stepper):
    return {name: p.detach().clone() for name, p in stepper.state.model.named_parameters()}


def test_a_step_is_what_it_says():
    """Against plain SGD written out: losses are summed, the gradient is applied once."""
    stepper = make_stepper()
    before, batch = weights(stepper), toy.batch_of([1, 2, 3])
    losses = stepper.state.model.losses(batch)
    model = stepper.state.model
    gradients = torch.autograd.grad(sum(losses.values()), list(model.parameters()))
    result = stepper.step([batch], 0.5, stop=False)
    assert result.values == {name: loss.item() for name, loss in losses.items()}
    assert not result.stop
    for (name, old), gradient in zip(before.items(), gradients, strict=True):
        new = dict(model.named_parameters())[name]
        # One multiplication and one addition, perhaps fused.
        torch.testing.assert_close(new, old - 0.5 * gradient, rtol=1e-6, atol=1e-8)


def test_accumulated_passes_equal_one_large_batch():
    """For a model whose images do not influence each other, up to float32 rounding."""
    keys = list(range(8))
    large, small = make_stepper(), make_stepper()
    for _ in range(3):
        one = large.step([toy.batch_of(keys)], 0.1, stop=False)
        parts = [toy.batch_of(keys[:4]), toy.batch_of(keys[4:])]
        two = small.step(parts, 0.1, stop=False)
        assert two.values == pytest.approx(one.values, rel=1e-5)
    for name, weight in weights(large).items():
        torch.testing.assert_close(weights(small)[name], weight, rtol=1e-4, atol=1e-6)


def test_the_stop_flag_comes_back():
    assert make_stepper().step([toy.batch_of([1])], 0.1, stop=True).stop


def test_clipping_bounds_the_step():
    stepper = make_stepper(
        SolverConfig(clip_grad_norm=1e-3, weight_decay=0.0, momentum=0.0, amp="off")
    )
    before = weights(stepper)
    stepper.step([toy.batch_of([1, 2])], 1.0, stop=False)
    moved = torch.cat([(weights(stepper)[name] - w).flatten() for name, w in before.items()])
    assert moved.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_the_average_follows_every_step():
    stepper = make_stepper(average=0.5)
    start = weights(stepper)["head.weight"]
    stepper.step([toy.batch_of([1])], 0.5, stop=False)
    expected = 0.5 * start + 0.5 * weights(stepper)["head.weight"]
    torch.testing.assert_close(stepper.state.average.tensors["head.weight"], expected)


def test_of_a_large_batch_some_images_are_named():
    stepper = make_stepper()
    toy.OPTIONS["nan_at"] = 1
    with pytest.raises(DivergedError, match=r"images 0, .*, 7 and 120 more\nA lower solver.lr"):
        stepper.step([toy.batch_of(list(range(128)))], 0.25, stop=False)


def test_a_loss_that_is_not_finite_stops_before_the_weights_change():
    stepper = make_stepper()
    stepper.state.progress.step = 41
    toy.OPTIONS["nan_at"] = 2
    before = weights(stepper)
    batches = [toy.batch_of([7, 9]), toy.batch_of([11, 13])]
    with pytest.raises(DivergedError) as raised:
        stepper.step(batches, 0.25, stop=False)
    text = str(raised.value)
    assert "the loss of step 42 is not finite at learning rate 0.25" in text
    assert "loss_cls nan, loss_box_reg 0." in text
    assert "images 7, 9, 11, 13" in text
    for name, weight in before.items():
        assert torch.equal(weights(stepper)[name], weight)


OPTIMIZERS = [
    "sgd",
    "adamw",
    pytest.param("lamb", marks=pytest.mark.skipif(find_spec("timm") is None, reason="timm's")),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("count", [1, 2])
def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(optimizer, clip, count):
    """At its own step, with its own images, although the loss is finite."""
    solver = SolverConfig(lr=0.1, optimizer=optimizer, clip_grad_norm=clip, amp="off")
    stepper = make_stepper(solver)
    stepper.step([toy.batch_of([1, 2])], 0.1, stop=False)
    stepper.state.progress.step = 41
    before = everything(stepper)
    break_gradients(stepper, times=1)
    batches = [toy.batch_of([7, 9]), toy.batch_of([11, 13])][:count]
    with pytest.raises(DivergedError) as raised:
        stepper.step(batches, 0.25, stop=False)
    text = str(raised.value)
    assert "the gradient of step 42 is not finite at learning rate 0.25" in text
    assert re.search(r"loss_cls \d\.\d+, loss_box_reg \d", text)
    assert "images 7, 9" in text and ("11, 13" in text) == (count == 2)
    assert_unchanged(stepper, before)


def test_classifiers_stop_as_well():
    model = ImageClassifier(
        create_classifier("resnet20_cifar", num_classes=3),
        cross_entropy,
        pixel_mean=torch.zeros(3),
        pixel_std=(58.0, 58.0, 58.0),
    ).train()
    solver = SolverConfig(lr=0.1, amp="off")
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    state = TrainState(model, build_optimizer(model, solver), scaler, None)
    stepper = Stepper(state, model, solver, torch.device("cpu"))
    model.network.conv1.weight.register_hook(lambda grad: grad / 0.0)
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    batch = ImageBatch(images, torch.tensor([0, 2]), torch.arange(2), ["a.png", "b.png"])
    with pytest.raises(DivergedError, match="gradient of step 1 is not finite .*\n.*a.png, b.png"):
        stepper.step([batch], 0.1, stop=False)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 1.0])
def test_on_a_gpu_the_answer_comes_with_the_next_step(optimizer, clip):
    """The update is skipped on the device; the host learns of it without waiting, and in time."""
    solver = SolverConfig(lr=0.1, optimizer=optimizer, clip_grad_norm=clip, amp="off")
    stepper = make_stepper(solver, deferred=True)
    stepper.step([toy.batch_of([1, 2])], 0.1, stop=False)
    stepper.state.progress.step = 1
    before = everything(stepper)
    break_gradients(stepper, times=1)
    result = stepper.step([toy.batch_of([7, 9])], 0.25, stop=False)
    assert result.loss > 0
    assert_unchanged(stepper, before, but=COUNTED)
    stepper.state.progress.step = 2
    with pytest.raises(DivergedError, match=r"gradient of step 2 .* rate 0.25:\n.*images 7, 9\n"):
        stepper.step([toy.batch_of([11, 13])], 0.1, stop=False)
    assert_unchanged(stepper, before, but=COUNTED)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("scale", [None, 2.0**40])
def test_a_first_step_that_is_skipped_leaves_no_trace(optimizer, scale):
    """Momentum starts at zero, not with what is in memory: in fp16 first steps are skipped."""
    solver = SolverConfig(lr=0.1, optimizer=optimizer, amp="off")
    skipped, fresh = (make_stepper(solver, deferred=True, scale=scale) for _ in range(2))
    start = weights(skipped)
    with torch.no_grad():
        [torch.full_like(weight, 7.0) for weight in start.values()]  # leaves sevens in freed memory
    break_gradients(skipped, times=1)
    skipped.step([toy.batch_of([1, 2])], 0.1, stop=False)
    assert all(torch.equal(weights(skipped)[name], weight) for name, weight in start.items())
    moments = {name: slot for name, slot in everything(skipped).items() if name not in start}
    assert not any(slot.any() for name, slot in moments.items() if not COUNTED.match(name))
    if scale is None:
        return
    for stepper in (skipped, fresh):
        stepper.step([toy.batch_of([3, 4])], 0.1, stop=False)
    assert_unchanged(skipped, everything(fresh))


def test_before_weights_are_saved_the_answer_is_awaited():
    stepper = make_stepper(deferred=True)
    stepper.step([toy.batch_of([1, 2])], 0.1, stop=False)
    stepper.settle()
    break_gradients(stepper)
    stepper.step([toy.batch_of([7, 9])], 0.1, stop=False)
    with pytest.raises(DivergedError, match="images 7, 9"):
        stepper.settle()


def test_steps_are_the_same_whenever_the_answer_is_read():
    early, late = make_stepper(deferred=False), make_stepper(deferred=True)
    for keys in ([1, 2], [3, 4], [5, 6]):
        first, second = (each.step([toy.batch_of(keys)], 0.1, stop=False) for each in (early, late))
        assert first == second
    assert_unchanged(late, everything(early))


@pytest.mark.parametrize("deferred", [False, True])
def test_a_loss_scale_that_is_too_high_skips_the_step_and_a_low_one_is_not_to_blame(
    deferred, caplog
):
    """As GradScaler does; but at a scale of 1 the gradient itself is not finite."""
    caplog.set_level("INFO")
    stepper = make_stepper(SolverConfig(lr=0.1, amp="off"), scale=4.0, deferred=deferred)
    before = weights(stepper)
    break_gradients(stepper)
    for scale in (2.0, 1.0):
        stepper.step([toy.batch_of([7, 9])], 0.1, stop=False)
        stepper.settle()
        assert stepper.state.scaler.get_scale() == scale
    assert "gradient exceeds fp16 at loss scale 4," in caplog.text
    with pytest.raises(DivergedError, match="the gradient of step 1 is not finite"):
        stepper.step([toy.batch_of([7, 9])], 0.1, stop=False)
        stepper.settle()
    assert all(torch.equal(weights(stepper)[name], old) for name, old in before.items())


@pytest.mark.parametrize("amp", ["off", "bf16"])
def test_in_bf16_layers_compute_in_it_and_weights_gradients_and_losses_in_float32(amp):
    stepper = make_stepper(SolverConfig(lr=0.1, weight_decay=0.0, amp=amp))
    model = stepper.state.model
    seen = {}
    model.conv.register_forward_hook(lambda *args: seen.update(conv=args[2].dtype))
    stepper.network.register_forward_hook(lambda *args: seen.update(args[2]))
    stepper.step([toy.batch_of([7, 9])], 0.1, stop=False)
    assert seen["conv"] is (torch.bfloat16 if amp == "bf16" else torch.float32)
    assert seen["loss_cls"].dtype is torch.float32
    for parameter in model.parameters():
        assert parameter.dtype is parameter.grad.dtype is torch.float32
    momentum = stepper.state.optimizer.state[model.head.weight]["momentum_buffer"]
    assert momentum.dtype is torch.float32


def test_a_precision_that_is_still_open_is_no_precision():
    """A run settles "auto" once, for all ranks; a step must not decide it anew."""
    stepper = make_stepper(SolverConfig(lr=0.1))
    with pytest.raises(ValueError, match="solver.amp is auto"):
        stepper.step([toy.batch_of([7, 9])], 0.1, stop=False)
