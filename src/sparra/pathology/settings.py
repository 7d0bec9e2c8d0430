"""Settings of the slide stage, all in physical units."""

from typing import Any, Self

from pydantic import Field, model_validator

from sparra.settings import Settings


class SlideSettings(Settings):
    """How a whole-slide image becomes a bag of tiles.

    Attributes
    ----------
    encoder : str
        Name in `sparra.pathology.encoders.slide_encoders`.
    encoder_options : dict
        Settings of that encoder, such as where its weights lie.
    mpp : float
        Resolution at which tiles are read, µm a pixel; every slide is resampled to exactly this.
    tile_um : float
        Side of a tile in µm; the number of pixels is the nearest to ``tile_um / mpp``.
    overlap_um : float
        Overlap of neighbouring tiles in µm.
    minimum_tissue : float
        Tiles with a smaller fraction of tissue are left out.
    tissue_mpp : float
        Resolution of the tissue mask, µm a pixel.
    tissue_smoothing_um : float
        Standard deviation of the Gaussian that smooths the slide before the tissue threshold, µm.
    largest_hole_um2 : float
        Holes in the tissue up to this area (lumina, fat vacuoles) are filled, µm².
    smallest_tissue_um2 : float
        Pieces of tissue below this area (dust, debris) are dropped, µm².
    batch_size : int
        Tiles read and encoded at a time.
    reading_threads : int
        Threads that read tiles while the previous batch is encoded; results do not depend on it.
    thumbnail_px : int
        Longest side of the preview, pixels.
    """

    encoder: str = "local"
    encoder_options: dict[str, Any] = Field(default_factory=dict)
    mpp: float = Field(0.5, ge=0.05, le=20.0)
    tile_um: float = Field(128.0, ge=16.0, le=10_000.0)
    overlap_um: float = Field(0.0, ge=0.0)
    minimum_tissue: float = Field(0.5, gt=0.0, le=1.0)
    tissue_mpp: float = Field(8.0, ge=1.0, le=64.0)
    tissue_smoothing_um: float = Field(8.0, ge=0.0)
    largest_hole_um2: float = Field(20_000.0, ge=0.0)
    smallest_tissue_um2: float = Field(40_000.0, ge=0.0)
    batch_size: int = Field(64, ge=1)
    reading_threads: int = Field(2, ge=1, le=64)
    thumbnail_px: int = Field(1024, ge=64, le=8192)

    @model_validator(mode="after")
    def _tiles_advance(self) -> Self:
        if self.overlap_um >= self.tile_um:
            raise ValueError(f"overlap_um ({self.overlap_um}) must be smaller than tile_um ({self.tile_um})")
        if self.tile_px < 16:
            raise ValueError(f"a tile of {self.tile_um} µm at {self.mpp} µm a pixel is below 16 pixels")
        return self

    @property
    def tile_px(self) -> int:
        """Side of a tile in pixels."""
        return round(self.tile_um / self.mpp)

    @property
    def step_um(self) -> float:
        """Distance between the corners of neighbouring tiles in µm."""
        return self.tile_um - self.overlap_um
