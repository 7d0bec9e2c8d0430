"""UNI (Chen et al. 2024) and UNI2-h."""

from sparra.encoders import EncoderCard
from sparra.networks.vision_transformer import ClassToken, VitShape
from sparra.pathology.encoders.network import IMAGENET, TileTransform, tile_network_entry
from sparra.weights import Layout, WeightsSource

UNI_SHAPE = VitShape(224, 16, 1024, 24, 16, 4096, scaled=True)
UNI2_SHAPE = VitShape(224, 14, 1536, 24, 24, 4096, gated=True, scaled=True, registers=8, positions_for_prefix=False)
_TRANSFORM = TileTransform(IMAGENET, 224, "bilinear", 224)
_UNI_SOURCE = WeightsSource.on_hub("uni", "MahmoodLab/UNI", gated=True)
_UNI2_SOURCE = WeightsSource.on_hub("uni2-h", "MahmoodLab/UNI2-h", gated=True)

UNI = tile_network_entry(
    EncoderCard(
        name="uni",
        modality="slide",
        dimension=1024,
        input_description="tile of 256 or 224 pixels, RGB, resampled to 224 x 224",
        resolution="0.5 µm a pixel (20x)",
        intensity="ImageNet mean and SD of each colour",
        licence="CC-BY-NC-ND-4.0",
        weights=_UNI_SOURCE.address,
        weights_sha256=None,
        gated=True,
        pretraining="Mass-100K: 100,426 slides of MGH, BWH and GTEx, DINOv2",
        reference="Chen et al., Nature Medicine 2024;30:850-862, ViT-L/16, class token",
        input_size=(224, 224),
        trained_at=(0.5,),
        tile_px=(256, 224),
        files=(_UNI_SOURCE,),
        parameters_millions=303.4,
    ),
    lambda: ClassToken(UNI_SHAPE),
    Layout(),
    _TRANSFORM,
)

UNI2_H = tile_network_entry(
    EncoderCard(
        name="uni2-h",
        modality="slide",
        dimension=1536,
        input_description="tile of 256 or 224 pixels, RGB, resampled to 224 x 224",
        resolution="0.5 µm a pixel (20x)",
        intensity="ImageNet mean and SD of each colour",
        licence="CC-BY-NC-ND-4.0",
        weights=_UNI2_SOURCE.address,
        weights_sha256=None,
        gated=True,
        pretraining="over 200 million H&E and IHC tiles of more than 350,000 slides, DINOv2",
        reference="Chen et al., Nature Medicine 2024;30:850-862 (UNI 2 of 2025), ViT-H/14, class token",
        input_size=(224, 224),
        trained_at=(0.5,),
        tile_px=(256, 224),
        files=(_UNI2_SOURCE,),
        parameters_millions=681.4,
    ),
    lambda: ClassToken(UNI2_SHAPE),
    Layout(),
    _TRANSFORM,
)
