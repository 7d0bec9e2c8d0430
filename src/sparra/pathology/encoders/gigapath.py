"""The tile encoder of Prov-GigaPath (Xu et al. 2024)."""

from sparra.encoders import EncoderCard
from sparra.networks.vision_transformer import ClassToken, VitShape
from sparra.pathology.encoders.network import IMAGENET, TileTransform, tile_network_entry
from sparra.weights import Layout, WeightsSource

SHAPE = VitShape(224, 16, 1536, 40, 24, 4096, gated=True, scaled=True)
_SOURCE = WeightsSource.on_hub("prov-gigapath", "prov-gigapath/prov-gigapath", gated=True)

PROV_GIGAPATH = tile_network_entry(
    EncoderCard(
        name="prov-gigapath",
        modality="slide",
        dimension=1536,
        input_description="tile of 256 x 256 pixels, RGB, of which the middle 224 x 224",
        resolution="0.5 µm a pixel (20x)",
        intensity="ImageNet mean and SD of each colour",
        licence="Apache-2.0 with conditions (research only)",
        weights=_SOURCE.address,
        weights_sha256=None,
        gated=True,
        pretraining="171,189 slides of Providence, DINOv2",
        reference="Xu et al., Nature 2024;630:181-188, ViT-g/16, class token; not its slide encoder",
        input_size=(224, 224),
        trained_at=(0.5,),
        tile_px=(256,),
        files=(_SOURCE,),
        parameters_millions=1134.9,
    ),
    lambda: ClassToken(SHAPE),
    Layout(),
    TileTransform(IMAGENET, 256, "bicubic", 224),
)
