"""Virchow2 (Zimmermann et al. 2024)."""

from sparra.encoders import EncoderCard
from sparra.networks.vision_transformer import ClassTokenAndMean, VitShape
from sparra.pathology.encoders.network import IMAGENET, TileTransform, tile_network_entry
from sparra.weights import Layout, WeightsSource

SHAPE = VitShape(224, 14, 1280, 32, 16, 3416, gated=True, scaled=True, registers=4)
_SOURCE = WeightsSource.on_hub("virchow2", "paige-ai/Virchow2", gated=True)

VIRCHOW2 = tile_network_entry(
    EncoderCard(
        name="virchow2",
        modality="slide",
        dimension=2560,
        input_description="tile of 224 x 224 pixels, RGB",
        resolution="0.5, 0.25, 1 or 2 µm a pixel (20x, 40x, 10x, 5x)",
        intensity="ImageNet mean and SD of each colour",
        licence="CC-BY-NC-ND-4.0",
        weights=_SOURCE.address,
        weights_sha256=None,
        gated=True,
        pretraining="3.1 million slides, H&E and IHC, of Memorial Sloan Kettering and its referrals, DINOv2",
        reference="Zimmermann et al., arXiv:2408.00738, ViT-H/14, class token and mean of the patches' tokens",
        input_size=(224, 224),
        trained_at=(0.5, 0.25, 1.0, 2.0),
        tile_px=(224,),
        files=(_SOURCE,),
        parameters_millions=631.2,
    ),
    lambda: ClassTokenAndMean(SHAPE),
    Layout(),
    TileTransform(IMAGENET, 224, "bicubic", 224),
)
