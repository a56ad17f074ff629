import pytest
import torch
import torchvision
from load_tool import load_tool

import resnet_backbone as rb
from resnet_backbone.errors import StorageError, WeightsError
from resnet_backbone.plugins import proof
from resnet_backbone.weights.presets import MSRA


@pytest.fixture(scope="module")
def run():
    return load_tool("convert_weights").main


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
    assert out.splitlines()[-1] == f"122 tensors are in {again}"


def test_the_proof_notices_a_difference(monkeypatch, source):
    """Where ours computes something else, the numbers say so."""
    stored = proof_input(source)
    right = proof.prove(stored, "resnet18", stride_in_1x1=False, layout="torchvision")
    assert max(right.differences.values()) < 1e-5
    build = proof._BUILDERS["torchvision"]

    def wrong(arch, state, stride):
        return build(arch, state | {"conv1.weight": 1.01 * state["conv1.weight"]}, stride)

    monkeypatch.setitem(proof._BUILDERS, "torchvision", wrong)
    found = proof.prove(stored, "resnet18", stride_in_1x1=False, layout="torchvision")
    assert min(found.differences.values()) > 1e-4


def proof_input(path):
    from resnet_backbone.weights.stored import read_weights

    return read_weights(path)


def test_frameworks_that_are_absent_are_said_to_be(monkeypatch, source):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    result = proof.prove(proof_input(source), "resnet18", stride_in_1x1=False, layout="timm")
    assert result == "timm is not installed"


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
        (["{source}", "no/a.pth", "--to", "timm"], StorageError, "cannot write weights"),
    ],
)
def test_mistakes(run, source, tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        run([argument.format(source=source) for argument in arguments])


def test_ambiguous_networks_need_a_name(run, tmp_path):
    source = tmp_path / "plain.pth"
    torch.save(rb.create_classifier("plain18").state_dict(), source)
    with pytest.raises(WeightsError, match="could be plain18 or resnet18_a; say which"):
        run([str(source), str(tmp_path / "a.pth"), "--to", "timm"])
