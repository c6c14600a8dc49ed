"""RepVGG-A0 (Ding et al. 2021) as it is trained, with the names of its published weights.

Each block adds a 3×3 convolution, a 1×1 convolution and, where the shapes allow, its input, each
normalized. At inference the three are one 3×3 convolution: what folding makes of them.
"""

from collections import OrderedDict

from torch import Tensor, nn

_DEPTHS = (2, 4, 14, 1)
_WIDTHS = (48, 96, 192, 1280)  # A0: 64·0.75, 128·0.75, 256·0.75, 512·2.5
_STEM = 48


def _normalized(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv=nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            bn=nn.BatchNorm2d(outputs),
        )
    )


class RepVggBlock(nn.Module):
    """[N, inputs, H, W] to [N, outputs, H/stride, W/stride] by parallel linear branches."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        same = stride == 1 and inputs == outputs
        self.rbr_identity = nn.BatchNorm2d(inputs) if same else None
        self.rbr_dense = _normalized(inputs, outputs, 3, stride)
        self.rbr_1x1 = _normalized(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        """relu of the sum of the branches."""
        y = self.rbr_dense(x) + self.rbr_1x1(x)
        if self.rbr_identity is not None:
            y = y + self.rbr_identity(x)
        result: Tensor = y.relu()
        return result


class RepVggA0(nn.Module):
    """Images [N, in_channels, H, W] to logits [N, num_classes]; 9,108,968 parameters."""

    def __init__(self, num_classes: int = 1000, in_channels: int = 3) -> None:
        super().__init__()
        self.stage0 = RepVggBlock(in_channels, _STEM, stride=2)
        channels, stages = _STEM, list[nn.Sequential]()
        for width, depth in zip(_WIDTHS, _DEPTHS, strict=True):
            blocks = list[nn.Module]()
            for position in range(depth):
                blocks.append(RepVggBlock(channels, width, stride=1 if position else 2))
                channels = width
            stages.append(nn.Sequential(*blocks))
        self.stage1, self.stage2, self.stage3, self.stage4 = stages
        self.linear = nn.Linear(channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each class, [N, num_classes]."""
        x = self.stage2(self.stage1(self.stage0(image)))
        x = self.stage4(self.stage3(x))
        logits: Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits
