import pytest
import torch
import torchvision
from safetensors.torch import load_file

import resnet_backbone as rb
from resnet_backbone.cli import convert as convert_command
from resnet_backbone.config.schema import Config
from resnet_backbone.detection.build import build_detector
from resnet_backbone.errors import ConfigError, StorageError, WeightsError
from resnet_backbone.weights.presets import MSRA


@pytest.fixture(scope="module")
def run():
    return convert_command.main


@pytest.fixture
def source(tmp_path):
    """torchvision's file by its published name, with other numbers."""
    torch.manual_seed(0)
    path = tmp_path / "resnet18-f37072fd.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    return path


def convert(run, source, target, *arguments):
    run([str(source), str(target), "--to", *map(str, arguments)])
    return target


@pytest.mark.parametrize("layout", ["torchvision", "timm", "detectron2", "mmpretrain"])
def test_round_trips_give_the_same_bytes(run, source, tmp_path, layout):
    first = convert(run, source, tmp_path / "first.pth", "torchvision")
    there = convert(run, first, tmp_path / "there.pth", layout)
    back = convert(run, there, tmp_path / "back.pth", "torchvision")
    assert back.read_bytes() == first.read_bytes()
    found, expected = torch.load(back), torch.load(source)
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_our_own_format_keeps_the_card(run, source, tmp_path, capsys):
    target = convert(run, source, tmp_path / "r18.safetensors", "safetensors")
    card = rb.read_card(target)
    assert card.top1 == 69.758
    assert card.recipe.optimizer == "sgd"
    again = convert(run, target, tmp_path / "again.safetensors", "safetensors")
    assert again.read_bytes() == target.read_bytes()
    out = capsys.readouterr().out
    assert "largest difference from torchvision's own model, relative: res2 " in out
    assert out.splitlines()[-1] == f"122 tensors: {again}"


@pytest.fixture(scope="module")
def c4_detector(tmp_path_factory):
    """A file of Faster R-CNN with res5 among the heads."""
    model = {"architecture": "c4", "backbone": {"name": "resnet50"}}
    model |= {"roi": {"box_pooler_resolution": 14}, "rpn": {"anchors": {"sizes": [(32, 64)]}}}
    torch.manual_seed(0)
    detector = build_detector(Config.model_validate({"model": model}), 2)
    path = tmp_path_factory.mktemp("c4") / "c4.safetensors"
    card = {"arch": "resnet50", "stride_in_1x1": False, "layout": "ours"}
    pixels = {"channel_order": "RGB", "mean": (123.675, 116.28, 103.53), "std": (1, 1, 1)}
    rb.save_weights(detector, path, rb.WeightsCard(**card, **pixels))
    return path


def test_the_backbone_of_a_c4_detector_has_its_last_stage(c4_detector):
    net = rb.create_backbone("resnet50", weights=c4_detector)
    tensors = load_file(c4_detector)
    res5 = tensors["roi_heads.box_pooler.res5.0.conv1.weight"]
    assert torch.equal(net.layer4[0].conv1.weight, res5)
    assert torch.equal(net.conv1.weight, tensors["backbone.conv1.weight"])


def test_a_detector_is_converted_proved_and_folded(run, c4_detector, tmp_path, capsys):
    folded = convert(run, c4_detector, tmp_path / "bgr.safetensors", "safetensors", "--fold", "BGR")
    out = capsys.readouterr().out
    assert "layout ours, detector" in out and "not compared" not in out
    before, after = load_file(c4_detector), load_file(folded)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert changed == ["backbone.conv1.weight"] and before.keys() == after.keys()
    # From a deviation of 1 to MSRA's, which is 1: the order alone changes.
    assert torch.equal(after[changed[0]], before[changed[0]].flip(1))
    assert rb.read_card(folded).channel_order == "BGR"
    convert(run, c4_detector, tmp_path / "d2.pth", "detectron2")
    assert "detectron2" in capsys.readouterr().out


def test_folding_makes_msras_pixels_of_torchvisions(run, source, tmp_path):
    target = convert(run, source, tmp_path / "bgr.safetensors", "safetensors", "--fold", "BGR")
    card = rb.read_card(target)
    assert (card.channel_order, card.mean, card.std) == ("BGR", MSRA.mean, MSRA.std)


def test_stated_facts_become_the_card(run, tmp_path, capsys):
    source = tmp_path / "mine.pth"
    torch.save(torchvision.models.resnet18().state_dict(), source)
    convert(run, source, tmp_path / "a.safetensors", "safetensors")
    assert "card: nothing is known; give --channel-order" in capsys.readouterr().out
    facts = ["--channel-order", "BGR", "--mean", 1, 2, 3, "--std", 4, 5, 6]
    target = convert(
        run, source, tmp_path / "b.safetensors", "safetensors", *facts, "--stride-in-1x1", "false"
    )
    card = rb.read_card(target)
    assert (card.channel_order, card.mean, card.std) == ("BGR", (1, 2, 3), (4, 5, 6))
    assert card.missing_facts() == ()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["no.pth", "a.pth", "--to", "timm"], WeightsError, "no.pth: no such file"),
        (["{source}", "a.pkl", "--to", "timm"], WeightsError, "expected a .safetensors or .pth"),
        (["{source}", "a.safetensors", "--to", "detectron2"], WeightsError, "expected a .pth file"),
        (["{source}", "no/a.pth", "--to", "timm"], StorageError, "no.a.pth: there is no folder no"),
    ],
)
def test_mistakes(run, source, tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        run([argument.format(source=source) for argument in arguments])


def test_what_a_framework_has_to_be_told_is_printed(run, source, tmp_path, capsys):
    convert(run, source, tmp_path / "d2.pth", "detectron2")
    lines = capsys.readouterr().out.splitlines()
    told = lines[lines.index("what detectron2 has to be told:") + 1 :]
    assert told[0] == "  MODEL.RESNETS.DEPTH 18 MODEL.RESNETS.RES2_OUT_CHANNELS 64"
    assert told[1].startswith("  INPUT.FORMAT RGB MODEL.PIXEL_MEAN [123.675, 116.28, 103.53]")


def test_what_it_cannot_be_told_is_refused_before_anything_is_written(run, tmp_path):
    net = rb.create_backbone("resnet50", norm="BN", stride_in_1x1=True)
    rb.save_weights(net, tmp_path / "msra.safetensors", MSRA)
    with pytest.raises(
        WeightsError, match="cannot be written for torchvision:\n  stride_in_1x1 is t"
    ):
        convert(run, tmp_path / "msra.safetensors", tmp_path / "a.pth", "torchvision")
    assert not (tmp_path / "a.pth").exists()


def test_tensors_are_lost_only_where_that_is_said(run, source, tmp_path, capsys):
    state = torch.load(source) | {"aux.weight": torch.ones(3)}
    torch.save(state, source)
    with pytest.raises(
        WeightsError, match="1 tensor without a place .* aux.weight; leave them out"
    ):
        convert(run, source, tmp_path / "a.safetensors", "safetensors")
    convert(run, source, tmp_path / "a.safetensors", "safetensors", "--allow-extra", "aux.*")
    assert "1 tensor left out, as --allow-extra says" in capsys.readouterr().out
    assert "aux.weight" not in load_file(tmp_path / "a.safetensors")


def test_the_backbone_of_a_detector_alone(run, c4_detector, tmp_path):
    target = convert(run, c4_detector, tmp_path / "r50.safetensors", "safetensors", "--backbone")
    assert load_file(target).keys() == rb.create_backbone("resnet50").state_dict().keys()


@pytest.mark.parametrize("layout", ["torchvision", "timm", "transformers"])
def test_classifiers_of_other_classes_are_converted(run, tmp_path, layout):
    torch.save(torchvision.models.resnet18(num_classes=7).state_dict(), tmp_path / "mine.pth")
    target = convert(run, tmp_path / "mine.pth", tmp_path / "there.pth", layout)
    assert any(t.dim() == 2 and len(t) == 7 for t in torch.load(target).values())


def test_the_input_is_never_the_output(run, tmp_path):
    source = tmp_path / "r18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), source)
    before = source.read_bytes()
    with pytest.raises(ConfigError, match=r"r18\.pth: the output would replace the input"):
        run([str(source), str(tmp_path / "." / "r18.pth"), "--to", "detectron2"])
    assert source.read_bytes() == before


def test_ambiguous_networks_need_a_name(run, tmp_path):
    source = tmp_path / "plain.pth"
    torch.save(rb.create_classifier("plain18").state_dict(), source)
    with pytest.raises(WeightsError, match="fits plain18 or resnet18_a; say which it is"):
        run([str(source), str(tmp_path / "a.pth"), "--to", "timm"])
