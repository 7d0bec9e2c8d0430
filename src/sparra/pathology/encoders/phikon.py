"""Phikon-v2 (Filiot et al. 2024)."""

from sparra.encoders import EncoderCard
from sparra.networks.vision_transformer import ClassToken, VitShape
from sparra.pathology.encoders.network import IMAGENET, TileTransform, tile_network_entry
from sparra.weights import Layout, WeightsSource
from sparra.weights.dinov2_names import from_dinov2

SHAPE = VitShape(224, 16, 1024, 24, 16, 4096, scaled=True)
#: The token that replaced masked patches in training lies in the file too.
LAYOUT = Layout(ignored=(r"embeddings\.mask_token",), convert=from_dinov2)
_SOURCE = WeightsSource.on_hub("phikon-v2", "owkin/phikon-v2", "model.safetensors")

PHIKON_V2 = tile_network_entry(
    EncoderCard(
        name="phikon-v2",
        modality="slide",
        dimension=1024,
        input_description="tile of 224 x 224 pixels, RGB",
        resolution="0.5 µm a pixel (20x)",
        intensity="ImageNet mean and SD of each colour",
        licence="Owkin non-commercial",
        weights=_SOURCE.address,
        weights_sha256=None,
        gated=False,
        pretraining="PANCAN-XL: 456 million tiles of 58,000 public slides (TCGA, CPTAC, GTEx and others), DINOv2",
        overlap="Pre-trained on TCGA and CPTAC slides: on these cohorts it has seen your test slides.",
        reference="Filiot et al., arXiv:2409.09173, ViT-L/16, class token",
        input_size=(224, 224),
        trained_at=(0.5,),
        tile_px=(224,),
        files=(_SOURCE,),
        parameters_millions=303.4,
    ),
    lambda: ClassToken(SHAPE),
    LAYOUT,
    TileTransform(IMAGENET, 224, "bicubic", 224),
)
