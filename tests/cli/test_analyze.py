"""What `analyze` prints of a network."""

import pytest

from resnet_backbone.cli import analyze
from resnet_backbone.errors import ConfigError
from resnet_backbone.paper.complexity import measure


def test_the_tool_prints_the_papers_figure_beside_ours(capsys):
    analyze.main(["resnet18", "resnet20_cifar"])
    out = capsys.readouterr().out
    assert "11,689,512" in out
    assert "1.814 G" in out
    assert "paper: 1.8 G multiply-adds (here 1.008 of it)" in out
    assert "paper: 0.27 M parameters (here 0.999 of it)" in out


def test_the_tool_lists_and_refuses(capsys):
    analyze.main(["--list"])
    assert "resnet1202_cifar" in capsys.readouterr().out
    for arguments in ([], ["resnet18", "--size", "0"]):
        with pytest.raises(SystemExit, match="2"):
            analyze.main(arguments)


def test_options_are_those_of_the_network_and_every_part_is_a_line(capsys):
    options = ["--size", "65", "--output-stride", "16", "--deformable", "res4", "res5"]
    analyze.main(["resnet18d", *options, "--in-channels", "1"])
    name, head, *lines = capsys.readouterr().out.strip().split("\n")
    deformable = ("res4", "res5")
    parts = measure("resnet18d", size=65, output_stride=16, deformable=deformable, in_channels=1)
    assert name == "resnet18d" and head.split()[:2] == ["parameters", "multiply-adds"]
    assert [line.split()[:2] for line in lines] == [
        [part.name, f"{part.parameters:,}"] for part in parts
    ]
    total = parts[-1]
    assert f"{total.multiply_adds / 1e9:.3f} G" in lines[-1]
    assert f"{4 * (total.parameters + total.activations) / 2**20:.1f} MiB" in lines[-1]


def test_the_papers_bottleneck_strides_in_the_1x1(capsys):
    analyze.main(["resnet50", "--stride-in-1x1"])
    assert "paper: 3.8 G multiply-adds (here 1.015 of it)" in capsys.readouterr().out


def test_an_unknown_network_is_an_error():
    with pytest.raises(ConfigError, match="unknown backbone 'resnet51'"):
        analyze.main(["resnet51"])


def test_a_network_named_after_the_stages_is_a_network(capsys):
    analyze.main(["resnet18", "--deformable", "res5"])
    expected = capsys.readouterr().out
    analyze.main(["--deformable", "res5", "resnet18"])
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize("channels", ["0", "-1"])
def test_a_network_needs_channels(channels):
    with pytest.raises(ConfigError, match=f"in_channels: got {channels}, expected 1 or more"):
        analyze.main(["resnet18", "--in-channels", channels])


@pytest.mark.parametrize("size", [0, -3, 999_999])
def test_sizes_that_cannot_be_run_are_refused(size, capsys):
    with pytest.raises(SystemExit) as raised:
        analyze.main(["resnet18", "--size", str(size)])
    assert raised.value.code == 2
    assert f"--size: got {size}, expected 1 to 4096" in capsys.readouterr().err
