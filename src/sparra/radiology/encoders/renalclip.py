"""The image encoder of RenalCLIP (Tao et al. 2025), made for renal masses: one row a tumour."""

import numpy as np
import torch
from torch.nn import functional

from sparra.encoders import EncoderCard
from sparra.networks.resnet3d import ResNet3d
from sparra.radiology.encoders.base import CtEncoderEntry, ct_encoders
from sparra.radiology.encoders.network import NetworkEncoder
from sparra.radiology.encoders.region import CtRegion, Orientation, Rows, Triple
from sparra.radiology.encoders.whole import cut_out, one_row
from sparra.radiology.geometry import Grid
from sparra.radiology.region import bounding_box
from sparra.weights import Layout, NetworkOptions, WeightsSource, load_network

#: Axes of the training's arrays: slices upwards, then to the patient's left, then to anterior.
_TOWARDS = "SLA"
_CROP_MM = (160.0, 140.0, 140.0)
_RESAMPLED: Triple = (40, 140, 140)
INPUT: Triple = (32, 128, 128)
#: Level 50, width 500 HU.
_WINDOW = (-200.0, 300.0)
#: The text encoder and the head of the contrastive training lie in the file too.
RENALCLIP_LAYOUT = Layout(
    ("model",), ("module.",), scope="image_encoder_q_student.", ignored=(r"global_embedding\..+",)
)
_SOURCE = WeightsSource.on_hub("renalclip", "taoyh/RenalCLIP", "acc.pt")


class RenalClipEncoder(NetworkEncoder):
    """Encodes a box of 140 × 140 × 160 mm around the tumour."""

    def extent(self, box: Triple, grid: Grid) -> Triple:
        """See `RegionEncoder.extent`."""
        return (int(max(_CROP_MM) / grid.spacing[0]) + 2,) * 3

    def encode_region(self, region: CtRegion) -> Rows:
        """See `RegionEncoder.encode_region`."""
        orientation = Orientation.of(region.grid, _TOWARDS)
        box = bounding_box(orientation.turn(region.mask).astype(bool))
        half = [int(length / 2 / region.grid.spacing[0]) for length in _CROP_MM]
        middle = [(side.start + side.stop) // 2 for side in box]
        part = tuple(slice(max(0, m - h), m + h) for m, h in zip(middle, half, strict=True))
        image = torch.from_numpy(cut_out(region, orientation, part, _WINDOW))[None, None]
        image = functional.interpolate(image, _RESAMPLED, mode="area")
        margin = [(whole - part) // 2 for whole, part in zip(_RESAMPLED, INPUT, strict=True)]
        cut = tuple(slice(m, m + n) for m, n in zip(margin, INPUT, strict=True))
        features = self.loaded.run(image[(slice(None), slice(None), *cut)]).numpy()
        return one_row(features.astype(np.float32), region, orientation, part)


def build_renalclip(options: NetworkOptions) -> RenalClipEncoder:
    """Load the weights and make the encoder.

    Raises
    ------
    UserError
        If the weights are absent or not RenalCLIP's.
    """
    return RenalClipEncoder(load_network(ResNet3d, _SOURCE, RENALCLIP_LAYOUT, options))


ct_encoders.register("renalclip")(
    CtEncoderEntry(
        card=EncoderCard(
            name="renalclip",
            modality="ct",
            dimension=512,
            input_description="140 x 140 x 160 mm around the tumour as 128 x 128 x 32 voxels; one row",
            resolution="any",
            intensity="-200 to 300 HU to 0-1",
            licence="MIT",
            weights=_SOURCE.address,
            weights_sha256=None,
            gated=False,
            pretraining="CTs of renal masses of Chinese centres with attributes and reports (27,866 CTs in the study)",
            reference="Tao et al., arXiv:2508.16569, 3-D ResNet-18, mean of the last maps",
            input_size=INPUT,
            files=(_SOURCE,),
            parameters_millions=33.0,
            notes=(
                "TCIA's renal CTs were its external test set. The training's crop was centred on the kidney; the"
                " orientation of its arrays is inferred from its code. The file's name on the Hub is not confirmed;"
                " 'hub::FILE' takes another."
            ),
        ),
        settings=NetworkOptions,
        build=build_renalclip,
    )
)
