"""CHIEF (Wang et al. 2024): CTransPath's tile encoder, and the attention that makes one vector of a slide."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sparra.encoders import EncoderCard
from sparra.networks.pooling import GatedAttention
from sparra.networks.swin import SwinTransformer
from sparra.pathology.encoders.base import SlideEncoderEntry
from sparra.pathology.encoders.network import (
    IMAGENET,
    TileNetwork,
    TileNetworkOptions,
    TileTransform,
    check_resolution,
    tile_network_entry,
)
from sparra.pathology.settings import SlideSettings
from sparra.weights import Layout, LoadedNetwork, WeightsSource, load_network

#: Tables that the network computes itself lie in the file too.
TILE_LAYOUT = Layout(
    ("model",),
    ("module.",),
    ignored=(r"layers\.\d\.blocks\.\d\.(attn_mask|attn\.relative_position_index)",),
)
#: Heads of the training, and the embeddings of organs' names, which do not enter the slide's vector.
SLIDE_LAYOUT = Layout(
    wrappers=("module.",),
    ignored=(
        r"(classifiers|instance_classifiers\.[01]|text_to_vision\.0|att_head\.fc[12])\.(weight|bias)",
        "organ_embedding",
    ),
)
_ADDRESS = "https://github.com/hms-dbmi/CHIEF (section 'Downloading Pre-trained models')"
_TILE_SOURCE = WeightsSource("chief", "CHIEF_CTransPath.pth", _ADDRESS, gated=True)
_SLIDE_SOURCE = WeightsSource("chief-slide", "CHIEF_pretraining.pth", _ADDRESS, gated=True, option="slide_weights")
_TRANSFORM = TileTransform(IMAGENET, 224, "bilinear", 224)
_OVERLAP = "Pre-trained on TCGA and other public slides, kidney among them: on TCGA it has seen your test slides."
_NOTE = "CHIEF reads tiles at 10x; the paper that sparra follows gave it tiles at 20x (mpp 0.5, allow_untrained)."


class SlideAttention(nn.Module):
    """CHIEF's aggregator: gated attention over hidden features weighs the tiles' own features."""

    def __init__(self, width: int = 768, hidden: int = 512, gate: int = 256) -> None:
        super().__init__()
        # The empty third place is the dropout of the training, which the file's numbering counts.
        layers = (nn.Linear(width, hidden), nn.ReLU(), nn.Identity(), GatedAttention(hidden, gate))
        self.attention_net = nn.Sequential(*layers)

    def forward(self, tiles: Tensor) -> Tensor:
        """Map the tiles of one slide, shape (n, width), to (1, width)."""
        weights = torch.softmax(self.attention_net(tiles), dim=0)
        return weights.transpose(0, 1) @ tiles


class ChiefSlideOptions(TileNetworkOptions):
    """Options of ``chief-slide``.

    Attributes
    ----------
    slide_weights : str or None
        Weights of the aggregator; `weights` are those of the tile encoder.
    """

    slide_weights: str | None = None


class SlideEncoderOfChief:
    """Encodes tiles, then makes one vector of them."""

    feature_names: tuple[str, ...] = ()

    def __init__(self, tiles: TileNetwork, slide: LoadedNetwork) -> None:
        self.tiles = tiles
        self.slide = slide

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What was loaded, of both networks."""
        return {**self.tiles.provenance, "slide": dict(self.slide.provenance)}

    def encode(self, tiles: NDArray[np.uint8], mpp: float) -> NDArray[np.float32]:
        """Encode tiles, shape (batch, side, side, 3), into (batch, 768)."""
        return self.tiles.encode(tiles, mpp)

    def summarise(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn the tiles' features, shape (n, 768), into the slide's, shape (1, 768)."""
        result: NDArray[np.float32] = self.slide.run(torch.from_numpy(features)).numpy()
        return result


CHIEF = tile_network_entry(
    EncoderCard(
        name="chief",
        modality="slide",
        dimension=768,
        input_description="tile of 256 or 224 pixels, RGB, resampled to 224 x 224",
        resolution="1 µm a pixel (10x)",
        intensity="ImageNet mean and SD of each colour",
        licence="AGPL-3.0",
        weights=_ADDRESS,
        weights_sha256=None,
        gated=True,
        pretraining="15 million tiles of TCGA and PAIP, contrastive (CTransPath)",
        overlap=_OVERLAP,
        reference="Wang et al., Nature 2024;634:970-978; Wang et al., Medical Image Analysis 2022;81:102559",
        input_size=(224, 224),
        trained_at=(1.0,),
        tile_px=(256, 224),
        files=(_TILE_SOURCE,),
        parameters_millions=27.5,
        notes=_NOTE,
    ),
    SwinTransformer,
    TILE_LAYOUT,
    _TRANSFORM,
)

_SLIDE_CARD = EncoderCard(
    name="chief-slide",
    modality="slide",
    dimension=768,
    input_description="all tiles of a slide, 256 or 224 pixels, RGB, resampled to 224 x 224; one row a slide",
    resolution="1 µm a pixel (10x)",
    intensity="ImageNet mean and SD of each colour",
    licence="AGPL-3.0",
    weights=_ADDRESS,
    weights_sha256=None,
    gated=True,
    pretraining="60,530 slides of 19 organs with their origin as label, on CTransPath's tile features",
    overlap=_OVERLAP,
    reference="Wang et al., Nature 2024;634:970-978 (CHIEF), 'WSI_feature'",
    input_size=(224, 224),
    trained_at=(1.0,),
    tile_px=(256, 224),
    files=(_TILE_SOURCE, _SLIDE_SOURCE),
    parameters_millions=28.2,
    notes=_NOTE,
)


def _check(settings: SlideSettings) -> None:
    check_resolution(_SLIDE_CARD, settings, CHIEF_SLIDE.options_in(settings).allow_untrained)


def _build(settings: SlideSettings) -> SlideEncoderOfChief:
    CHIEF_SLIDE.require(settings)
    options: ChiefSlideOptions = CHIEF_SLIDE.options_in(settings)
    tiles = load_network(SwinTransformer, _TILE_SOURCE, TILE_LAYOUT, options)
    of_slide = options.model_copy(update={"weights": options.slide_weights})
    slide = load_network(SlideAttention, _SLIDE_SOURCE, SLIDE_LAYOUT, of_slide)
    return SlideEncoderOfChief(TileNetwork(tiles, _TRANSFORM, options.network_batch), slide)


CHIEF_SLIDE = SlideEncoderEntry(_SLIDE_CARD, _build, ChiefSlideOptions, _check)
