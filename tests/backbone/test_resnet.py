"""ResNet against torchvision, and every declaration against a measurement."""

import pytest
import torch
import torchvision
from comparison import randomise_norms, relative_error
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.feature_extraction import create_feature_extractor

from resnet_backbone.backbone.norm import FrozenBatchNorm2d
from resnet_backbone.backbone.resnet import Options, options_from
from resnet_backbone.backbone.variants import list_backbones
from resnet_backbone.create import create_backbone
from resnet_backbone.errors import ConfigError

LAYERS = {"layer1": "res2", "layer2": "res3", "layer3": "res4", "layer4": "res5"}
STAGES = ("stem", *LAYERS.values())


TORCHVISION = [
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
    *("wide_resnet50_2", "wide_resnet101_2"),
]
TIMM = [
    *("resnet50c", "resnet101c", "resnet18d", "resnet34d", "resnet50d", "resnet101d"),
    *("seresnet18", "seresnet34", "seresnet50"),
]


@pytest.mark.parametrize("stride_in_1x1", [False, True])
@pytest.mark.parametrize("name", [n for n in list_backbones() if "1202" not in n])
def test_declared_features_are_what_is_measured(name, stride_in_1x1):
    images = torch.empty(1, 3, 64, 96, device="meta")
    cifar = name.endswith("_cifar")
    stages = STAGES[:-1] if cifar else STAGES
    for output_stride in (8, 16, 32):
        with torch.device("meta"):
            net = create_backbone(
                name,
                out_features=stages,
                stride_in_1x1=stride_in_1x1,
                output_stride=output_stride,
            )
        features, specs = net(images), net.feature_specs()
        assert list(features) == list(specs) == list(stages)
        for key, spec in specs.items():
            assert features[key].shape == (1, spec.channels, 64 // spec.stride, 96 // spec.stride)
        strides = [1, 1, 2, 4] if cifar else [min(s, output_stride) for s in (4, 4, 8, 16, 32)]
        assert [spec.stride for spec in specs.values()] == strides


# One network of each kind; the deeper ones repeat the same blocks.
KINDS = [
    *("resnet18", "resnet18_a", "resnet18_c", "resnet18d", "resnetv2_18", "seresnet18", "plain18"),
    *("resnet20_cifar", "resnet50", "resnet50c", "resnetv2_50", "resnext50_32x4d"),
]
OPTIONS = [
    {"norm": "GN", "output_stride": 8},
    {"stochastic_depth": 0.5},
    {"activation_checkpointing": True},
    {"deformable": ("res4",), "norm": "FrozenBN"},
]
TRACED = [*((name, {}) for name in KINDS), *(("resnet18", options) for options in OPTIONS)]


@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize(("name", "options"), TRACED)
def test_a_traced_network_computes_the_same(name, options, mode):
    """Bit for bit: torch.fx records the operators that are called anyway."""
    net = create_backbone(name, **options)
    randomise_norms(net)
    net.train(mode)
    traced = torch.fx.symbolic_trace(net)
    images = torch.randn(2, 3, 37, 45)
    for expected, found in zip(*(seeded(each, images) for each in (net, traced)), strict=True):
        assert torch.equal(found, expected)


def seeded(net, images):
    """Stochastic depth draws from the global generator."""
    torch.manual_seed(3)
    with torch.no_grad():
        return net(images).values()


@pytest.mark.parametrize(
    ("name", "options"), [("resnet18d", {}), ("resnetv2_18", {}), ("resnet18", OPTIONS[-1])]
)
def test_torch_compile_takes_the_whole_network_as_one_graph(name, options):
    torch.compiler.reset()
    net = create_backbone(name, **options).eval()
    images = torch.randn(1, 3, 37, 45)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    for expected, found in zip(*(seeded(each, images) for each in (net, compiled)), strict=True):
        assert torch.equal(found, expected)


def test_torchvisions_tools_for_features_find_the_stages():
    """`create_feature_extractor` traces the network, `IntermediateLayerGetter` runs its children;
    both take torchvision's names."""
    reference = torchvision.models.resnet18().eval()
    net = create_backbone("resnet18", norm="BN").eval()
    net.load_state_dict(reference.state_dict(), strict=False)
    images = torch.randn(2, 3, 65, 70)
    for tool in (create_feature_extractor, IntermediateLayerGetter):
        layers = {"relu": "stem", "layer1": "res2", "layer4": "res5"}
        if tool is IntermediateLayerGetter:
            layers.pop("relu")  # it changes its input in place
        with torch.no_grad():
            wanted, found = (tool(each, dict(layers))(images) for each in (reference, net))
        assert list(found) == list(layers.values())
        for key, expected in wanted.items():
            torch.testing.assert_close(found[key], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
@pytest.mark.parametrize("name", TORCHVISION)
def test_features_equal_torchvision(name, norm):
    reference = getattr(torchvision.models, name)().eval()
    randomise_norms(reference)
    net = create_backbone(name, norm=norm, out_features=STAGES).eval()
    incompatible = net.load_state_dict(reference.state_dict(), strict=False)
    assert incompatible.missing_keys == []
    assert incompatible.unexpected_keys == ["fc.weight", "fc.bias"]

    getter = IntermediateLayerGetter(reference, {"maxpool": "stem", **LAYERS})
    images = torch.randn(2, 3, 65, 97)
    with torch.no_grad():
        features, expected = net(images), getter(images)
    for key in STAGES:
        # float32 sums in another order: 1e-5 of the largest value.
        assert relative_error(features[key], expected[key]) < 1e-5


@pytest.mark.parametrize("name", TORCHVISION)
def test_parameters_are_torchvisions_without_the_classifier(name):
    net = create_backbone(name, norm="BN")
    reference = getattr(torchvision.models, name)()
    expected = {k: v.shape for k, v in reference.named_parameters() if not k.startswith("fc.")}
    assert {k: v.shape for k, v in net.named_parameters()} == expected


def test_stride_in_1x1_subsamples_before_the_3x3():
    """A stride in the 1x1 equals torchvision's block, unstrided, on every second pixel."""
    net = create_backbone("resnet50", norm="BN", stride_in_1x1=True).eval()
    block = net.layer2[0]
    reference = torchvision.models.resnet50().layer2[0].eval()
    reference.load_state_dict(block.state_dict())
    reference.conv2.stride = reference.downsample[0].stride = (1, 1)
    x = torch.randn(1, 256, 14, 18)
    with torch.no_grad():
        assert relative_error(block(x), reference(x[:, :, ::2, ::2])) < 1e-5


def test_stride_in_1x1_has_no_effect_on_basic_blocks():
    nets = [create_backbone("resnet18", stride_in_1x1=stride) for stride in (False, True)]
    nets[1].load_state_dict(nets[0].state_dict())
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(nets[0](x)["res5"], nets[1](x)["res5"])


@pytest.mark.parametrize("name", TIMM)
def test_features_equal_timm(name):
    timm = pytest.importorskip("timm")
    reference = timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4)).eval()
    randomise_norms(reference)
    net = create_backbone(name, norm="BN").eval()
    net.load_state_dict(reference.state_dict())
    images = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        features, expected = net(images), reference(images)
    for feature, other in zip(features.values(), expected, strict=True):
        assert relative_error(feature, other) < 1e-5


@pytest.mark.parametrize(("output_stride", "dilated"), [(16, [0, 0, 1]), (8, [0, 1, 1])])
def test_dilated_stages_equal_torchvision(output_stride, dilated):
    """torchvision leaves the first block of a dilated stage as the stage before."""
    reference = torchvision.models.resnet50(replace_stride_with_dilation=dilated).eval()
    randomise_norms(reference)
    net = create_backbone("resnet50", output_stride=output_stride, dilate_first=False)
    net.load_state_dict(reference.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 96)
    getter = IntermediateLayerGetter(reference, LAYERS)
    with torch.no_grad():
        features, expected = net(images), getter(images)
    for key, feature in features.items():
        assert relative_error(feature, expected[key]) < 1e-5


def test_dilation_of_the_first_block_is_what_distinguishes_detectron2():
    """detectron2's DC5 dilates all three blocks, torchvision's the last two."""
    reference = torchvision.models.resnet50(replace_stride_with_dilation=[False, False, True])
    randomise_norms(reference.eval())
    conv = reference.layer4[0].conv2
    conv.dilation = conv.padding = (2, 2)
    net = create_backbone("resnet50", output_stride=16, out_features=("res5",))
    net.load_state_dict(reference.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 96)
    getter = IntermediateLayerGetter(reference, {"layer4": "res5"})
    with torch.no_grad():
        features, expected = net(images)["res5"], getter(images)["res5"]
    assert features.shape == (1, 2048, 4, 6)
    assert relative_error(features, expected) < 1e-5


def test_basic_blocks_dilate_too():
    net = create_backbone("resnet18", output_stride=16)
    convs = [m for m in net.layer4.modules() if getattr(m, "kernel_size", None) == (3, 3)]
    assert len(convs) == 4
    assert all(conv.dilation == (2, 2) and conv.stride == (1, 1) for conv in convs)


@pytest.mark.parametrize("norm", ["BN", "SyncBN", "GN", "FrozenBN"])
@pytest.mark.parametrize("freeze_at", range(6))
def test_freeze_at_freezes_the_first_stages_and_nothing_else(freeze_at, norm):
    net = create_backbone("resnet18", norm=norm, freeze_at=freeze_at, out_features=STAGES).train()
    modules = [
        [net.conv1, net.bn1],
        *([net.get_submodule(layer)] for layer in LAYERS),
    ]
    before = {k: v.clone() for k, v in net.state_dict().items()}
    features = net(torch.randn(2, 3, 64, 64))
    if freeze_at < 5:
        sum(feature.mean() for feature in features.values() if feature.requires_grad).backward()

    assert [f.requires_grad for f in features.values()] == [i >= freeze_at for i in range(5)]
    for index, (name, parts) in enumerate(zip(STAGES, modules, strict=True)):
        parameters = [p for part in parts for p in part.parameters()]
        frozen = index < freeze_at
        assert all(p.requires_grad != frozen and (p.grad is None) == frozen for p in parameters)
        batch_norms = [m for part in parts for m in part.modules() if hasattr(m, "running_mean")]
        if frozen or norm == "FrozenBN":
            assert all(isinstance(m, FrozenBatchNorm2d) for m in batch_norms), name
        else:
            assert not any(isinstance(m, FrozenBatchNorm2d) for m in batch_norms), name
    changed = {k for k, v in net.state_dict().items() if not torch.equal(v, before[k])}
    prefixes = [("conv1", "bn1"), *((layer,) for layer in LAYERS)][:freeze_at]
    assert not any(k.startswith(prefix) for k in changed for prefix in prefixes)
    assert bool(changed) == (norm in ("BN", "SyncBN") and freeze_at < 5)


def test_frozen_stages_keep_no_activations():
    net = create_backbone("resnet18", norm="BN", freeze_at=5)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(saved.append, lambda tensor: tensor):
        net(torch.randn(1, 3, 64, 64))
    assert saved == []


def test_freezing_keeps_the_function():
    net = create_backbone("resnet50", norm="BN").eval()
    randomise_norms(net)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net(images)
        net.freeze(3)
        actual = net.train(False)(images)
    assert all(relative_error(actual[k], expected[k]) < 1e-5 for k in expected)


@pytest.mark.parametrize("freeze_at", [0, 2])
@pytest.mark.parametrize("norm", ["FrozenBN", "BN", "GN"])
def test_features_stay_channels_last(norm, freeze_at):
    net = create_backbone("resnet50", norm=norm, freeze_at=freeze_at, out_features=STAGES)
    for images in (torch.randn(2, 3, 64, 64), torch.randn(2, 64, 64, 3).permute(0, 3, 1, 2)):
        for feature in net(images).values():
            assert feature.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
def test_autocast_features_are_half_precision_and_close(norm):
    net = create_backbone("resnet18", norm=norm, out_features=STAGES).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = net(images)
        with torch.autocast("cpu", torch.bfloat16):
            features = net(images)
    for key, feature in features.items():
        assert feature.dtype == torch.bfloat16
        # bfloat16 rounds to 2**-8; some 20 roundings in a row stay below 5 %.
        assert relative_error(feature.float(), expected[key]) < 0.05


def test_stages_behind_the_last_feature_are_not_built():
    net = create_backbone("resnet50", out_features=("res4",))
    assert not hasattr(net, "layer4")
    assert list(net(torch.zeros(1, 3, 32, 32))) == ["res4"]


def test_features_come_in_ascending_order():
    net = create_backbone("resnet18", out_features=["res4", "stem", "res2"])
    assert net.out_features == ("stem", "res2", "res4")
    assert list(net(torch.zeros(1, 3, 32, 32))) == ["stem", "res2", "res4"]


def test_in_channels():
    net = create_backbone("resnet18", in_channels=5)
    assert net(torch.zeros(1, 5, 32, 32))["res5"].shape == (1, 512, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out_features": ("res6",)}, r"out_features: got \('res6',\), expected .* stem, res2"),
        ({"out_features": ()}, "out_features: got"),
        ({"out_features": "res4"}, "out_features: got 'res4'"),
        ({"freeze_at": 6}, "freeze_at: got 6, expected 0 to 5"),
        ({"freeze_at": -1}, "freeze_at: got -1"),
        ({"norm": "BatchNorm"}, "norm: got 'BatchNorm', expected one of BN, FrozenBN, SyncBN, GN"),
        (
            {"norm": "GN", "name": "resnet20_cifar"},
            "GN needs a number of channels divisible by 32, got 16",
        ),
        ({"output_stride": 4}, "output_stride: got 4, expected 8, 16 or 32"),
        ({"deformable": ("res1",)}, r"deformable: got \('res1',\), expected a list of res2, res3"),
        ({"deformable": "res5"}, "deformable: got 'res5'"),
        ({"stochastic_depth": 1.0}, "stochastic_depth: got 1.0, expected at least 0 and below 1"),
        (
            {"zero_init_residual": True},
            "would stay zero throughout training, because the network has norm Frozen",
        ),
        (
            {"zero_init_residual": True, "name": "plain18", "norm": "BN"},
            "because the network has no shortcuts",
        ),
    ],
)
def test_wrong_arguments_say_what_was_expected(arguments, message):
    with pytest.raises(ConfigError, match=message):
        create_backbone(**({"name": "resnet18"} | arguments))


def test_options_by_name_are_checked_against_those_there_are():
    assert options_from({"norm": "GN"}, "f") == Options(norm="GN")
    with pytest.raises(ConfigError, match="^f: there is no argument 'nrom'; did you mean norm"):
        options_from({"nrom": "GN"}, "f")
