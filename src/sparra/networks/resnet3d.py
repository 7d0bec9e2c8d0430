"""Residual network of volumes (He et al. 2016, in 3-D as Hara et al. 2018), shortcuts without parameters."""

from torch import Tensor, nn
from torch.nn import functional


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut that is subsampled and padded with empty channels ("type A")."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.stride, self.added = stride, width - channels
        self.conv1 = nn.Conv3d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm3d(width)

    def forward(self, volume: Tensor) -> Tensor:
        """Map (batch, channels, z, y, x) to (batch, width, z / stride, ...)."""
        changed = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(volume)))))
        step = self.stride
        shortcut = functional.pad(volume[:, :, ::step, ::step, ::step], (0, 0) * 3 + (0, self.added))
        return functional.relu(changed + shortcut)


class ResNet3d(nn.Module):
    """ResNet-18 of single-channel volumes; the output is the mean over the last maps, 8 · `width` wide."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(1, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        for i in range(4):
            wide, before = width * 2**i, width * 2 ** max(i - 1, 0)
            blocks = ResidualBlock(before, wide, 1 if i == 0 else 2), ResidualBlock(wide, wide, 1)
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))

    def forward(self, volume: Tensor) -> Tensor:
        """Map (batch, 1, z, y, x) to (batch, 8 · width)."""
        volume = functional.relu(self.bn1(self.conv1(volume)))
        # Padding with 0 equals padding with -inf here, since nothing is below 0.
        volume = functional.max_pool3d(volume, 3, 2, 1)
        for i in range(4):
            volume = self.get_submodule(f"layer{i + 1}")(volume)
        return volume.mean(dim=(2, 3, 4))
