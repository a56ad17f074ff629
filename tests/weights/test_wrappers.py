"""The weights inside checkpoints, as the scripts of the field wrap them."""

import numpy as np
import pytest
import torch

from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.blanks import Blank
from resnet_backbone.weights.wrappers import notes_in, state_dict_in

NET = {
    "conv1.weight": torch.ones(1),
    "bn1.running_mean": torch.ones(2),
    "layer1.0.conv1.weight": torch.ones(3),
}
HEAD = {"fc.weight": torch.ones(4), "fc.bias": torch.ones(5)}
PROJECTION = {"fc.0.weight": torch.ones(6), "fc.2.weight": torch.ones(7)}
SLOW = {name: tensor + 1 for name, tensor in NET.items()}


def under(prefix, tensors):
    return {prefix + name: tensor for name, tensor in tensors.items()}


def assert_equal(actual, expected):
    assert list(actual) == list(expected)
    assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())


@pytest.mark.parametrize(
    "content",
    [
        NET,
        {"state_dict": NET, "epoch": 90, "arch": "resnet50", "optimizer": {"state": {}}},
        {"model": NET, "model_ema": SLOW},  # torchvision's references
        {"state_dict": NET, "state_dict_ema": SLOW},  # timm
        {"epoch": 1, "model_state": NET, "ema_state": SLOW, "cfg": "MODEL:\n"},  # pycls
        {"model_state_dict": NET},  # torch's tutorial
        {"net": under("module.", NET), "acc": 93.0},  # kuangliu/pytorch-cifar
        {"model": {"model": {"state_dict": NET}}},
        under("module.", NET),
        under("_orig_mod.", NET),  # torch.compile
        under("_orig_mod.module.", NET),
        under("module._orig_mod.model.", NET),
        under("_fsdp_wrapped_module.model._orig_mod.", NET),
        {n.replace("layer1.", "layer1._checkpoint_wrapped_module."): t for n, t in NET.items()},
        {"params": NET, "params_ema": SLOW},  # BasicSR
        {"state_dict": under("model.", NET), "pytorch-lightning_version": "2.0"},
        {"state_dict": under("net.", NET)},
        {"state_dict": under("backbone.", NET)},
        {"state_dict": under("encoder.", NET)},
        {"classy_state_dict": {"base_model": {"model": {"trunk": NET, "heads": {}}}}},  # VISSL
        {"module": NET, "lr_scheduler": None},  # DeepSpeed
        {"backbone": NET, "epoch": 1},
        {"encoder": NET, "decoder": {"a": torch.ones(1)}},
        {"my_script_calls_it": NET, "epoch": 1},
        {"state": {"model": NET, "step": 3}, "config": {"lr": 0.1}},
        {"state": {"model": NET}, "optimizer": {"state": {0: {"exp_avg": torch.ones(1)}}}},
        {"online_network_state_dict": NET, "target_network_state_dict": SLOW},  # BYOL
        {"backbone": {"name": "resnet"}, "state_dict": NET},
        {**NET, "epoch": 3, "name": "x", "milestones": [30, 60], "best": None},
    ],
)
def test_usual_wrappers(content):
    assert_equal(state_dict_in(content, "f"), NET)


@pytest.mark.parametrize(
    "key", ["state_dict_ema", "model_ema", "ema_state_dict", "ema_state", "ema"]
)
def test_averages_where_there_is_nothing_else(key):
    assert_equal(state_dict_in({key: under("module.", SLOW), "epoch": 1}, "f"), SLOW)


@pytest.mark.parametrize(
    "content",
    [
        # MoCo v1 and v2
        {
            "state_dict": {
                **under("module.encoder_q.", NET | PROJECTION),
                **under("module.encoder_k.", SLOW | PROJECTION),
                "module.queue": torch.ones(8),
                "module.queue_ptr": torch.zeros(1),
            }
        },
        # MoCo v3
        {
            "state_dict": {
                **under("module.base_encoder.", NET | PROJECTION),
                **under("module.momentum_encoder.", SLOW | PROJECTION),
                "module.predictor.0.weight": torch.ones(8),
            }
        },
        # DINO's full checkpoint
        {
            "student": under("module.backbone.", SLOW)
            | {"module.head.last_layer.weight_v": torch.ones(8)},
            "teacher": under("backbone.", NET)
            | {"head.mlp.0.weight": torch.ones(8), "head.last_layer.weight_g": torch.ones(8)},
            "optimizer": {},
            "epoch": 100,
        },
        # SimSiam
        {
            "state_dict": under("module.encoder.", NET | PROJECTION)
            | {"module.predictor.0.weight": torch.ones(8)}
        },
        # SwAV
        under("module.", NET)
        | {
            "module.projection_head.0.weight": torch.ones(8),
            "module.prototypes.weight": torch.ones(8),
        },
        # Barlow Twins and VICReg
        {
            "model": under("module.backbone.", NET)
            | {
                "module.projector.0.weight": torch.ones(8),
                "module.bn.running_mean": torch.ones(8),
            }
        },
    ],
    ids=["moco", "moco3", "dino", "simsiam", "swav", "barlow"],
)
def test_self_supervised_training_leaves_its_backbone(content):
    assert_equal(state_dict_in(content, "f"), NET)


@pytest.mark.parametrize(
    "content",
    [
        under("backbone.bottom_up.", NET)
        | {"roi_heads.box_predictor.cls_score.bias": NET["conv1.weight"]},
        under("backbone.bottom_up.", NET) | under("backbone.fpn_", NET),
        under("backbone.body.", NET) | under("backbone.fpn.", NET),
        under("backbone.", NET) | under("neck.", NET) | under("rpn_head.", NET),
        under("backbone.", NET) | under("rpn.", NET) | under("roi_heads.", NET),
        under("backbone.", NET) | under("bbox_head.", NET),
        # classifiers of mmpretrain and transformers have layouts of their own
        under("backbone.", NET) | under("head.", HEAD),
        under("resnet.", NET) | {"classifier.1.weight": torch.ones(1)},
        NET | HEAD,
    ],
)
def test_names_that_belong_to_a_layout_stay(content):
    assert_equal(state_dict_in(content, "f"), content)
    assert_equal(state_dict_in({"model": under("module.", content)}, "f"), content)


def test_names_stay_on_request():
    content = under("model.", NET)
    assert_equal(state_dict_in({"state_dict": content}, "f", strip=False), content)


def test_the_average_that_torch_keeps():
    model = torch.nn.Linear(2, 1)
    average = torch.optim.swa_utils.AveragedModel(model).state_dict()
    assert_equal(state_dict_in({"model_ema": average}, "f"), model.state_dict())


def test_caffe2_keeps_its_solver_among_the_weights():
    content = {
        "conv1_w": np.ones((2, 3), "f4"),
        "conv1_w_momentum": np.ones((2, 3), "f4"),
        "lr": np.float32(0.1),
        "weight_order": "x",
    }
    actual = state_dict_in({"blobs": content, "cfg": "MODEL: x"}, "f")
    assert_equal(actual, {"conv1_w": torch.ones(2, 3)})


@pytest.mark.parametrize("dtype", "? i1 i2 i4 i8 u1 f2 f4 f8 >f4 >i8".split())
def test_arrays_become_tensors(dtype):
    array = np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype))
    array.flags.writeable = False
    tensor = state_dict_in({"a": array}, "f")["a"]
    np.testing.assert_array_equal(tensor.numpy(), array)
    assert tensor.is_contiguous() and tensor.shape == (2, 3)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (None, "found NoneType"),
        ({"model": {}}, "found nothing"),
        ({"model": {"a": 1, "b": "x"}}, "found only 'a', 'b'"),
        ({"model": {"a": object()}}, "found object at 'a'"),
        ({"a": torch.ones(1), "b": [torch.ones(1)]}, "found list at 'b'"),
        ({3: torch.ones(1)}, "at 3"),
        ({"a": np.array([None])}, "found an array of object at 'a'"),
        ({"a": np.array([1j])}, "found an array of complex128 at 'a'"),
        ({"a": torch.eye(2).to_sparse()}, "found a torch.sparse_coo .* at 'a'"),
        ({"a": torch.ones(1, device="meta")}, "tensor on meta at 'a'"),
        ({"a": torch.ones(1).expand(2**40)}, "found a torch.strided .* at 'a'"),
        ({"a" * 999: object()}, "found object at 'a{99}$"),
        ({(1, 2): torch.ones(1)}, "at a tuple"),
        ({"blobs": {3: torch.ones(1)}}, "at 3"),
    ],
)
def test_what_holds_no_weights_is_said(content, found):
    with pytest.raises(WeightsError, match=f"^f: expected .*{found}"):
        state_dict_in(content, "f")


@pytest.mark.parametrize(
    "average",
    [
        {"state_dict_ema": SLOW},
        {"model_ema": {"n_averaged": torch.tensor(3), **under("module.", SLOW)}},
        {"ema": {"shadow": SLOW, "decay": 0.99}},
        {"swa_state_dict": under("module.", SLOW)},
        {"my_average": under("module.model.", SLOW)},
    ],
)
def test_an_average_beside_the_weights_is_said(caplog, average):
    content = {"state_dict": under("module.", NET), **average, "optimizer": {"state": {0: NET}}}
    assert_equal(state_dict_in(content, "w.pth"), NET)
    (key,) = average
    expected = "w.pth: took the weights at 'state_dict'; others of the same names, such as aver"
    assert caplog.text.count(expected) == 1 and f"not used: at {key!r}; to use them" in caplog.text


def test_an_average_alone_is_said_to_be_one(caplog):
    caplog.set_level("INFO")
    average = {"n_averaged": torch.tensor(3), **under("module.", SLOW)}
    assert_equal(state_dict_in({"model_ema": average}, "w.pth"), SLOW)
    assert "w.pth: took the averaged weights at 'model_ema'" in caplog.text


def test_a_student_beside_its_teacher_is_said_and_other_entries_are_not(caplog):
    state_dict_in({"student": NET, "teacher": SLOW, "head": {"a": torch.ones(1)}}, "w.pth")
    assert "took the weights at 'teacher'" in caplog.text and "at 'student';" in caplog.text
    caplog.clear()
    state_dict_in({"model": NET, "head": {"a": torch.ones(1)}, "args": {"ema": True}}, "w.pth")
    assert not caplog.text


def test_two_entries_of_a_script_are_not_guessed_at():
    with pytest.raises(
        WeightsError, match=r"f: expected .* found dict at 'left'; save the weights alone"
    ):
        state_dict_in({"left": NET, "right": SLOW}, "f")


def test_notes_are_short_texts_by_their_place():
    content = {"model": {"arch": "b", "state_dict": NET, "x": "y" * 101}, "arch": "a", "epoch": 1}
    assert list(notes_in(content).items()) == [("arch", "a"), ("model.arch", "b")]
    args = Blank()
    args.__setstate__({"model": "c", "_content": {"net": "d"}, 3: {"e": "f"}})
    assert notes_in({"args": args, "net": NET}) == {
        "args.model": "c",
        "args.net": "d",
        "args.int.e": "f",
    }
    assert notes_in(None) == {}


def test_notes_of_entries_that_a_pickle_repeats_are_read_once():
    content = {str(i): "x" for i in range(9)}
    for _ in range(7):
        content = dict.fromkeys(map(str, range(1000)), content)
    assert len(notes_in(content)) == 9


def test_more_tensors_than_any_network_has():
    many = dict.fromkeys(map(str, range(50_001)), NET["conv1.weight"])
    with pytest.raises(WeightsError, match="f: has 50001 entries, more than 50000"):
        state_dict_in(many, "f")


def test_wrappers_without_end():
    content: dict = {}
    content["model"] = content
    with pytest.raises(WeightsError, match="found dict at 'model'"):
        state_dict_in(content, "f")
