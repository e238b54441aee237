"""Families of tests: MobileNetV2 with a width for each of 25 layers, and a chain of 70 convolutions."""

from itertools import pairwise

from torch import nn

from autobss_zoo import Family
from autobss_zoo.codes import Field
from autobss_zoo.families.plan import Conv, InvertedResidual, Linear, Plan, Stage

DEPTHS, STRIDES = (2, 3, 4, 3, 3, 1), (2, 2, 2, 1, 2, 1)


def places():
    """The order of BCNet's lists: the stem, the first stage's output, of each stage e1, out, e2..., and the head."""
    names = ["stem", "s0.out"]
    for stage, depth in enumerate(DEPTHS, start=1):
        names += [f"s{stage}.e1", f"s{stage}.out", *(f"s{stage}.e{i}" for i in range(2, depth + 1))]
    return (*names, "head")


class WideMobileNet(Family):
    """MobileNetV2 with 25 widths."""

    first_conv, classifier = "conv_stem", "classifier"
    feature_cfg = {"flatten_sequential": True}

    @property
    def fields(self):
        return (Field("W", "width", places()),)

    def build(self, code, **kwargs):
        from autobss_zoo.networks.mbconv import network_of

        width = code.as_dict()
        stages, inputs = [[f"ds_r1_k3_s1_c{width['s0.out']}"]], width["s0.out"]
        for number, (depth, stride) in enumerate(zip(DEPTHS, STRIDES, strict=True), start=1):
            blocks, outputs = [], width[f"s{number}.out"]
            for i in range(1, depth + 1):
                expansion = width[f"s{number}.e{i}"] / inputs
                blocks.append(f"ir_r1_k3_s{stride if i == 1 else 1}_e{expansion!r}_c{outputs}")
                inputs = outputs
            stages.append(blocks)
        return network_of(stages, "relu", stem_size=width["stem"], num_features=width["head"], **kwargs)

    def _plan(self, elements, setting):
        width = dict(zip(places(), elements["W"], strict=True))
        stem = Conv(setting.in_chans, width["stem"], setting.input_size, 3, 2)
        first = InvertedResidual(stem.outputs, width["s0.out"], stem.side_out, 3, 1, hidden=stem.outputs, expands=0)
        stages = [Stage("stem", (stem,), ("stem",)), Stage("s0", (first,), ("s0.out",))]
        for number, (depth, stride) in enumerate(zip(DEPTHS, STRIDES, strict=True), start=1):
            blocks, before = [], stages[-1]
            for i in range(1, depth + 1):
                hidden = width[f"s{number}.e{i}"]
                shape = (before.outputs, width[f"s{number}.out"], before.side_out, 3, stride if i == 1 else 1)
                blocks.append(InvertedResidual(*shape, hidden=hidden))
                before = blocks[-1]
            own = tuple(place for place in places() if place.startswith(f"s{number}."))
            stages.append(Stage(f"s{number}", tuple(blocks), own))
        conv = Conv(stages[-1].outputs, width["head"], stages[-1].side_out)
        head = Stage("head", (conv, Linear(conv.outputs, setting.num_classes, conv.side_out)), ("head",))
        return Plan((*stages, head))


WIDE = WideMobileNet(
    "wide_mnv2",
    "mnv2",
    (
        32,
        16,
        96,
        24,
        144,
        144,
        32,
        192,
        192,
        192,
        64,
        384,
        384,
        384,
        384,
        96,
        576,
        576,
        576,
        160,
        960,
        960,
        960,
        320,
        1280,
    ),
)


class ChainNet(nn.Module):
    def __init__(self, widths, num_classes=1000, in_chans=3):
        super().__init__()
        self.num_classes, self.in_chans, self.num_features = num_classes, in_chans, widths[-1]
        layers = [
            module
            for inputs, outputs in pairwise((in_chans, *widths))
            for module in (nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))
        ]
        self.features, self.head = nn.Sequential(*layers), nn.Linear(widths[-1], num_classes)

    def get_classifier(self):
        return self.head

    def forward(self, images):
        return self.head(self.features(images).mean((2, 3)))


class Chain(Family):
    """70 convolutions in seven stages."""

    first_conv, classifier = "features.0", "head"

    @property
    def fields(self):
        return (Field("W", "width", tuple(f"s{i // 10}.c{i % 10}" for i in range(70)), high=4096),)

    def build(self, code, **kwargs):
        return ChainNet(code.values, **kwargs)

    def _plan(self, elements, setting):
        stages, inputs = [], setting.in_chans
        for number in range(7):
            blocks = []
            for outputs in elements["W"][10 * number : 10 * number + 10]:
                blocks.append(Conv(inputs, outputs, setting.input_size))
                inputs = outputs
            stages.append(Stage(f"s{number}", tuple(blocks), self.layout.names[10 * number : 10 * number + 10]))
        return Plan((*stages, Stage("head", (Linear(inputs, setting.num_classes, setting.input_size),))))


CHAIN = Chain("chain", "chain", (1024,) * 70, input_size=16)
