import pytest
import torch
import toy

from resnet_backbone.config.schema import SolverConfig
from resnet_backbone.engine.optimizer import AveragedWeights, build_optimizer
from resnet_backbone.engine.state import TrainState
from resnet_backbone.engine.step import Stepper
from resnet_backbone.errors import DivergedError


@pytest.fixture(autouse=True)
def clean_options():
    toy.OPTIONS.clear()
    yield
    toy.OPTIONS.clear()


def make_stepper(solver=None, *, coupled=False, seed=0, average=None):
    torch.manual_seed(seed)
    solver = solver or SolverConfig(lr=0.1, weight_decay=0.0)
    model = toy.ToyModel(coupled=coupled)
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    state = TrainState(
        model,
        build_optimizer(model, solver),
        scaler,
        average and AveragedWeights(model, average),
    )
    return Stepper(state, model, solver, torch.device("cpu"))


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
    stepper = make_stepper(SolverConfig(clip_grad_norm=1e-3, weight_decay=0.0, momentum=0.0))
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
