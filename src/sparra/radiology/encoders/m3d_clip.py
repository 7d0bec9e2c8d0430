"""The image tower of M3D-CLIP (Bai et al. 2024): one row a tumour."""

from typing import Literal

import numpy as np
import torch
from pydantic import NonNegativeInt
from torch import Tensor, nn
from torch.nn import functional

from sparra.encoders import EncoderCard
from sparra.networks.volume_transformer import VolumeTransformer
from sparra.radiology.encoders.base import CtEncoderEntry, ct_encoders
from sparra.radiology.encoders.network import NetworkEncoder
from sparra.radiology.encoders.region import CtRegion, Orientation, Rows, Triple
from sparra.radiology.encoders.whole import cut_out, one_row
from sparra.radiology.encoders.windows import SOFT_TISSUE, foreground_window
from sparra.radiology.geometry import Grid
from sparra.radiology.region import bounding_box
from sparra.weights import Layout, LoadedNetwork, NetworkOptions, WeightsSource, load_network

#: The text tower lies in the file too.
M3D_LAYOUT = Layout(
    ("state_dict",),
    ("module.",),
    ignored=(
        r"language_encoder\..+",
        r"mm_language_proj\..+",
        "logit_scale",
        r"vision_encoder\.blocks\.\d+\.(norm_cross_attn|cross_attn)\..+",
    ),
)
_SOURCE = WeightsSource.on_hub("m3d-clip", "GoodBaiBai88/M3D-CLIP")
INPUT: Triple = (32, 256, 256)


class ImageTower(nn.Module):
    """Class token of the vision transformer, projected and brought to length 1."""

    def __init__(self, vision: VolumeTransformer) -> None:
        super().__init__()
        self.vision_encoder = vision
        width = vision.norm.normalized_shape[0]
        self.mm_vision_proj = nn.Linear(width, width)

    def forward(self, volumes: Tensor) -> Tensor:
        """Map (batch, 1, z, y, x) to (batch, width)."""
        return functional.normalize(self.mm_vision_proj(self.vision_encoder(volumes)[:, 0]).float(), dim=-1)


class M3dClipOptions(NetworkOptions):
    """Options of ``m3d-clip``.

    Attributes
    ----------
    intensity : {"soft_tissue", "foreground"}
        ``soft_tissue``: -160 to 240 HU to 0-1, like the 8-bit pictures it was trained on. ``foreground``:
        SegVol's normalisation, as in the paper's code.
    orientation : {"display", "ras"}
        How slices lie: as displayed (rows to posterior, columns to the patient's left), or as in the paper's
        code (rows to anterior, columns to the right).
    margin_voxels : tuple of int
        Margin of the tumour's box along z, y, x.
    """

    intensity: Literal["soft_tissue", "foreground"] = "soft_tissue"
    orientation: Literal["display", "ras"] = "display"
    margin_voxels: tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt] = (4, 8, 8)


class M3dClipEncoder(NetworkEncoder):
    """Encodes the tumour's box and its margin, resampled to the network's input."""

    def __init__(self, loaded: LoadedNetwork, options: M3dClipOptions) -> None:
        network = loaded.network
        assert isinstance(network, ImageTower)  # for the type checker: this class builds no other
        super().__init__(loaded)
        self.options = options
        self.size = network.vision_encoder.size

    def extent(self, box: Triple, grid: Grid) -> Triple:
        """See `RegionEncoder.extent`."""
        margin = 2 * max(self.options.margin_voxels)
        return (box[0] + margin, box[1] + margin, box[2] + margin)

    def encode_region(self, region: CtRegion) -> Rows:
        """See `RegionEncoder.encode_region`."""
        orientation = Orientation.of(region.grid, "SPL" if self.options.orientation == "display" else "SAR")
        box = bounding_box(orientation.turn(region.mask).astype(bool))
        margin = self.options.margin_voxels
        part = tuple(slice(max(0, side.start - m), side.stop + m) for side, m in zip(box, margin, strict=True))
        soft = self.options.intensity == "soft_tissue"
        window = SOFT_TISSUE if soft else foreground_window(region.scan)
        image = torch.from_numpy(cut_out(region, orientation, part, window))[None, None]
        image = functional.interpolate(image, self.size, mode="trilinear")
        features = self.loaded.run(image).numpy()
        return one_row(features.astype(np.float32), region, orientation, part)


def m3d_clip_network() -> ImageTower:
    """Make the network at its published size."""
    return ImageTower(VolumeTransformer(class_token=True))


def build_m3d_clip(options: M3dClipOptions) -> M3dClipEncoder:
    """Load the weights and make the encoder.

    Raises
    ------
    UserError
        If the weights are absent or not M3D-CLIP's.
    """
    return M3dClipEncoder(load_network(m3d_clip_network, _SOURCE, M3D_LAYOUT, options), options)


ct_encoders.register("m3d-clip")(
    CtEncoderEntry(
        card=EncoderCard(
            name="m3d-clip",
            modality="ct",
            dimension=768,
            input_description="the tumour's box and margin, resampled to 32 x 256 x 256 voxels (z, y, x); one row",
            resolution="any",
            intensity="-160 to 240 HU to 0-1, or the paper's foreground normalisation",
            licence="MIT (code); trained on Radiopaedia, non-commercial",
            weights=_SOURCE.address,
            weights_sha256=None,
            gated=False,
            pretraining="120,000 pairs of CT and report of Radiopaedia (8-bit pictures), CLIP",
            reference="Bai et al., arXiv:2404.00578 (M3D), class token, projected, length 1",
            input_size=INPUT,
            files=(_SOURCE,),
            parameters_millions=88.0,
            notes="The file's name on the Hub is not confirmed; 'hub::FILE' takes another.",
        ),
        settings=M3dClipOptions,
        build=build_m3d_clip,
    )
)
