"""Networks of timm's that fit ours in every shape: told by name, refused, and built by timm."""

import argparse
import json
import pickle
import types

import pytest
import safetensors.torch
import torch

from resnet_backbone.backbone.variants import list_backbones
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import WeightsError
from resnet_backbone.weights.stored import read_plain, read_weights
from resnet_backbone.weights.timm_names import our_name, refuse_lookalikes, timm_names_in

timm = pytest.importorskip("timm")
# Of timm's, those whose parameters have the names and shapes of one of ours, from a comparison of
# all its ResNets with all of ours.
TWINS = (
    *("resnetaa34d", "resnetaa50", "resnetaa50d", "resnetaa101d"),
    *("resnetblur18", "resnetblur50", "resnetblur50d", "resnetblur101d"),
)
SUPERSETS = (
    *("ecaresnet50d", "ecaresnet101d", "ecaresnet50d_pruned", "ecaresnetlight"),
    *("resnetrs50", "resnetrs101", "resnetrs152", "seresnetaa50d", "seresnextaa101d_32x8d"),
    *("seresnext50_32x4d", "seresnext101_32x4d", "seresnext101_32x8d", "seresnext101_64x4d"),
    *("resnetv2_50x1_bit", "resnetv2_101x3_bit"),
)


@pytest.fixture(scope="module")
def blurred():
    torch.manual_seed(5)
    net = timm.create_model("resnetblur18").eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
    return net


def stored_as(folder, state, kind):
    """Writes weights of resnetblur18 as timm, its hub and its training script do."""
    if kind == "file name":
        torch.save(state, folder / "resnetblur18_a1-84f4748f.pth")
        return folder / "resnetblur18_a1-84f4748f.pth"
    if kind == "checkpoint":
        content = {"epoch": 3, "arch": "resnetblur18", "state_dict": state, "version": 2}
        torch.save(content, folder / "last.pth.tar")
        return folder / "last.pth.tar"
    if kind == "metadata":
        path = folder / "w.safetensors"
        safetensors.torch.save_file(state, path, {"architecture": "resnetblur18"})
        return path
    if kind == "cache":
        folder = folder / "models--timm--resnetblur18.a1_in1k" / "snapshots" / "1"
        folder.mkdir(parents=True)
    if kind == "config":
        cfg = {"architecture": "resnetblur18", "pretrained_cfg": {"tag": "a1_in1k"}}
        (folder / "config.json").write_text(json.dumps(cfg))
    safetensors.torch.save_file(state, folder / "model.safetensors")
    return folder / "model.safetensors"


@pytest.mark.parametrize("kind", ["file name", "checkpoint", "metadata", "cache", "config"])
def test_lookalikes_are_refused_and_built_by_timms_backbone(tmp_path, blurred, kind):
    path = stored_as(tmp_path, blurred.state_dict(), kind)
    remedy = {"checkpoint": "save", "metadata": "save", "config": "move"}.get(kind, "rename")
    message = rf"says resnetblur18.*by the name 'timm/resnetblur18'.*network, {remedy}"
    with pytest.raises(WeightsError, match=message):
        create_backbone("resnet18", weights=path)
    with pytest.raises(WeightsError, match="says resnetblur18.*, expected resnet18;"):
        create_backbone("timm/resnet18", weights=path)
    net = create_backbone("timm/resnetblur18", weights=path, norm="BN").eval()
    image = torch.randn(1, 3, 45, 37, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        actual, expected = net(image)["res5"], blurred.forward_features(image)
    torch.testing.assert_close(actual, expected)  # the same modules, the same tensors


NAMED = {"epochs": 3, "model": "resnetblur18"}
# Where training scripts keep the name: timm's, Lightning's, OmegaConf's nodes, smp's.
BESIDE = {
    "args.model": {"arch": "resnet", "args": argparse.Namespace(**NAMED)},
    "hyper_parameters.model_name": {"hyper_parameters": {"model_name": "resnetblur18"}},
    "config.model": {"config": types.SimpleNamespace(_content=NAMED)},
    "cfg.model.name": {"cfg": {"model": {"name": "timm/resnetblur18.in1k"}}},
    "hparams.encoder_name": {"hparams": {"encoder_name": "tu-resnetblur18"}},
    "args.variant": {"args": {"variant": "resnetblur18"}},
    "argv": {"argv": ["train.py", "--model", "resnetblur18"]},
    "cfg": {"cfg": "MODEL:\n  NAME: resnetblur18\n"},
    "text": {"text": '{"net": "timm/resnetblur18.in1k", "lr": 1}'},
}


@pytest.mark.parametrize("place", BESIDE)
@pytest.mark.parametrize("suffix", [".pth", ".pkl"])
def test_names_in_the_arguments_of_a_run_count(tmp_path, blurred, place, suffix):
    path = tmp_path / f"last{suffix}"
    state = blurred.state_dict()
    if suffix == ".pth":
        torch.save({"state_dict": state, **BESIDE[place]}, path)
    else:
        arrays = {name: tensor.numpy() for name, tensor in state.items()}
        path.write_bytes(pickle.dumps({"state_dict": arrays, **BESIDE[place]}, 2))
    with pytest.raises(WeightsError, match=f"its entry '{place}' says resnetblur18.*save the"):
        read_weights(path)


def test_the_name_of_a_teacher_is_not_that_of_the_weights(tmp_path):
    refuse_lookalikes("w.pth", {"args.teacher.model": "resnetrs50"}, "torchvision", {})
    refuse_lookalikes("w.pth", {"comment": "better than resnetrs50"}, "torchvision", {})
    refuse_lookalikes("w.pth", {"args.name": "resnet26t", "loss": "vgg16"}, "torchvision", {})


@pytest.mark.parametrize("name", [*TWINS, *SUPERSETS])
def test_every_twin_is_known_by_its_file_name(name):
    assert timm.is_model(name) and our_name(name) is None
    for path in (
        f"{name}.pth",
        f"/data/my_{name}-0123abcd.pth",
        f"{name}.a1_in1k/model.safetensors",
    ):
        with pytest.raises(WeightsError, match=f"says {name}.*'timm/{name}'"):
            refuse_lookalikes(path, {}, "torchvision", {"bn1.running_mean": torch.ones(1)})


@pytest.mark.parametrize(
    "path",
    [
        "resnet50_a1_0-14fe96d1.pth",
        "/home/me/resnetaa50_experiments/resnet50.pth",  # a folder that only speaks of it
        "models--timm--resnet50.a1_in1k/snapshots/1/model.safetensors",
        "resnext50_32x4d-7cdf4587.pth",
        "seresnet50.pth",
        "habit-r50x1.pth",
    ],
)
def test_other_names_pass(path):
    refuse_lookalikes(path, {"arch": "resnet50"}, "torchvision", {})


def test_every_network_that_both_have_is_ours():
    """tests/plugins compare what they compute."""
    both = [name for name in list_backbones() if timm.is_model(name)]
    assert len(both) > 25 and all(our_name(f"{name}.a1_in1k") == name for name in both)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tv_resnet50", "resnet50"),
        ("gluon_resnet101_v1d", "resnet101d"),
        ("gluon_resnet50_v1b", "resnet50"),
        ("gluon_resnet50_v1s", None),
        ("swsl_resnext101_32x8d", "resnext101_32x8d"),
        ("rb_resnet50d.ra2_in1k", "resnet50d"),
        ("resnet50_gn.a1h_in1k", "resnet50"),
        ("resnet200d", None),
        ("vit_small", None),
    ],
)
def test_names_of_all_times(name, expected):
    assert our_name(name) == expected


def test_bit_is_told_by_its_norms():
    with torch.device("meta"):
        state = timm.create_model("resnetv2_50x1_bit").state_dict()
    with pytest.raises(WeightsError, match=r"BiT .*'timm/resnetv2_50x1_bit'"):
        refuse_lookalikes("w.pth", {}, "timm", state)
    with pytest.raises(WeightsError, match=r"'timm/resnetv2_50x1_bit'"):
        refuse_lookalikes("BiT-M-R50x1.pth", {}, "torchvision", {})


def test_another_entry_than_ours_is_refused_only_if_timm_has_it():
    with pytest.raises(WeightsError, match="its entry 'arch' says resnet26t"):
        refuse_lookalikes("w.pth", {"arch": "resnet26t"}, "torchvision", {})
    refuse_lookalikes("w.pth", {"arch": "my_resnet", "model_name": "x"}, "torchvision", {})


def test_timm_backbones_take_their_card_from_the_tag(tmp_path, blurred):
    state = blurred.state_dict()
    folder = tmp_path / "models--timm--resnetaa50.a1h_in1k" / "snapshots" / "1"
    folder.mkdir(parents=True)
    safetensors.torch.save_file(state, folder / "model.safetensors")
    card = read_plain(folder / "model.safetensors", "timm/resnetaa50").card
    assert card is not None and card.source == "timm/resnetaa50.a1h_in1k"
    cfg = {"architecture": "resnetaa50", "pretrained_cfg": {"tag": "a1h_in1k"}}
    (tmp_path / "config.json").write_text(json.dumps(cfg))
    safetensors.torch.save_file(state, tmp_path / "model.safetensors")
    assert list(timm_names_in(str(tmp_path / "model.safetensors"), {})) == ["resnetaa50.a1h_in1k"]
    assert read_plain(tmp_path / "model.safetensors", "timm/resnetaa50").card == card


@pytest.mark.parametrize("text", ["[1", "[]", "[" * 9999, '{"architecture": 3}', "\xff"])
def test_a_config_that_is_not_timms_is_ignored(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    state = create_backbone("resnet18").state_dict()
    safetensors.torch.save_file(
        {name: t.contiguous() for name, t in state.items()}, tmp_path / "model.safetensors"
    )
    assert read_weights(tmp_path / "model.safetensors").kind == "backbone"
