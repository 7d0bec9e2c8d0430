"""H-optimus-1 (Bioptimus 2025)."""

from sparra.encoders import EncoderCard
from sparra.networks.vision_transformer import ClassToken, VitShape
from sparra.pathology.encoders.network import TileTransform, tile_network_entry
from sparra.weights import Layout, WeightsSource

SHAPE = VitShape(224, 14, 1536, 40, 24, 4096, gated=True, scaled=True, registers=4, positions_for_prefix=False)
_COLOURS = ((0.707223, 0.578729, 0.703617), (0.211883, 0.230117, 0.177517))
_SOURCE = WeightsSource.on_hub("h-optimus-1", "bioptimus/H-optimus-1", gated=True)

H_OPTIMUS_1 = tile_network_entry(
    EncoderCard(
        name="h-optimus-1",
        modality="slide",
        dimension=1536,
        input_description="tile of 224 x 224 pixels, RGB",
        resolution="0.5 µm a pixel (20x)",
        intensity="its own mean and SD of each colour",
        licence="CC-BY-NC-ND-4.0",
        weights=_SOURCE.address,
        weights_sha256=None,
        gated=True,
        pretraining="over one million slides of 800,000 patients, proprietary, DINOv2",
        reference="Bioptimus 2025 (H-optimus-1), ViT-g/14, class token",
        input_size=(224, 224),
        trained_at=(0.5,),
        tile_px=(224,),
        files=(_SOURCE,),
        parameters_millions=1134.8,
    ),
    lambda: ClassToken(SHAPE),
    Layout(),
    TileTransform(_COLOURS, 224, "bicubic", 224),
)
