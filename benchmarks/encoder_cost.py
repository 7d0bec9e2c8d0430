"""What encoders with a network cost: seconds on this machine, windows, rows and memory of SegVol's two ways.

``python -m benchmarks.encoder_cost`` prints one JSON line. ``seconds_NAME``: one tile (slide) or one window or
volume (CT) through the network at full size, on one thread. ``patch_*`` and ``voxel_*``: a round tumour of 60 mm at
1.024 mm through SegVol's two ways, with a stand-in for the network that gives tokens of the true width: windows,
rows, seconds and MB of peak memory without the network, beside ``voxel_naive_mb``, what holding the enlarged region
and the sums of all tokens would take. Weights are random: the figures are costs, not results.
"""

import argparse
import json
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from sparra.networks.resnet3d import ResNet3d
from sparra.networks.swin import SwinTransformer
from sparra.networks.vision_transformer import ClassToken
from sparra.networks.volume_transformer import VolumeTransformer
from sparra.pathology.encoders.conch import CONCH_SHAPE, CONCH_WIDTH, conch_tower
from sparra.pathology.encoders.hipt import TILE_SHAPE
from sparra.pathology.encoders.uni import UNI_SHAPE
from sparra.radiology.encoders.region import CtRegion
from sparra.radiology.encoders.segvol import SegVolEncoder, SegVolOptions
from sparra.radiology.geometry import Grid
from sparra.weights import LoadedNetwork

SPACING_MM, DIAMETER_MM = 1.024, 60.0
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "hipt": (lambda: ClassToken(TILE_SHAPE), (3, 256, 256)),
    "chief": (SwinTransformer, (3, 224, 224)),
    "uni": (lambda: ClassToken(UNI_SHAPE), (3, 224, 224)),
    "conch": (lambda: conch_tower(CONCH_SHAPE, CONCH_WIDTH), (3, 448, 448)),
    "segvol": (VolumeTransformer, (1, 32, 256, 256)),
    "renalclip": (ResNet3d, (1, 32, 128, 128)),
}


class StandIn(VolumeTransformer):
    """Gives tokens of the right number and width at no cost."""

    def __init__(self) -> None:
        super().__init__(hidden=1, depth=1)
        self.calls = 0

    def forward(self, volumes: Tensor) -> Tensor:
        """Count the windows."""
        self.calls += len(volumes)
        return torch.zeros(len(volumes), 2048, 768)


def seconds_of(network: nn.Module, shape: tuple[int, ...]) -> float:
    image = torch.zeros(1, *shape)
    network.eval()
    with torch.inference_mode():
        network(image)
        start = time.perf_counter()
        network(image)
    return time.perf_counter() - start


def make_region(encoder: SegVolEncoder) -> CtRegion:
    side = round(DIAMETER_MM / SPACING_MM)
    size = np.maximum(encoder.extent((side,) * 3, Grid((1,) * 3, (SPACING_MM,) * 3, (0.0,) * 3, np.eye(3))), side + 16)
    z, y, x = np.ogrid[tuple(slice(-(n - 1) / 2, n / 2) for n in size)]
    mask = z**2 + y**2 + x**2 <= (side / 2) ** 2
    grid = Grid(tuple(int(n) for n in size[::-1]), (SPACING_MM,) * 3, (0.0,) * 3, np.eye(3))
    hu = np.zeros(mask.shape, np.float32)
    return CtRegion(hu, mask, np.ones_like(mask), grid, np.zeros((2, 2, 2), np.float32), 0.25)


def measure(tokens: str) -> dict[str, float]:
    network = StandIn()
    loaded = LoadedNetwork(network, torch.device("cpu"), torch.float32, {})
    encoder = SegVolEncoder(loaded, SegVolOptions.model_validate({"tokens": tokens}))
    region = make_region(encoder)
    start = time.perf_counter()
    rows = encoder.encode_region(region)
    seconds = time.perf_counter() - start
    network.calls = 0
    tracemalloc.start()
    encoder.encode_region(region)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {
        f"{tokens}_windows": network.calls,
        f"{tokens}_rows": len(rows.features),
        f"{tokens}_seconds_without_network": seconds,
        f"{tokens}_peak_mb": peak / 1e6,
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    for name, (build, shape) in NETWORKS.items():
        figures[f"seconds_{name}"] = seconds_of(build(), shape)
    for tokens in ("patch", "voxel"):
        figures |= measure(tokens)
    side = round(DIAMETER_MM / SPACING_MM)
    region = (side + 8) * (side + 16) * (side + 16)
    figures["voxel_naive_mb"] = region * (4 * 16 * 16 + 768) * 4 / 1e6
    print(json.dumps({name: float(f"{value:.4g}") for name, value in figures.items()}))


if __name__ == "__main__":
    main()
