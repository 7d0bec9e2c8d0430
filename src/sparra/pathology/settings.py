"""Settings of the slide stage, all in physical units."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from sparra.pathology.resolution import MppPolicy
from sparra.settings import Settings


class SlideSettings(Settings):
    """How a whole-slide image becomes a bag of tiles.

    Attributes
    ----------
    encoder : str
        Name in `sparra.pathology.encoders.slide_encoders`.
    encoder_options : dict
        Settings of that encoder, such as where its weights lie.
    default_mpp : float or None
        µm per pixel of level 0 of slides whose table and header say nothing; None: they are an error.
    mpp_from_objective : bool
        Whether such a slide's objective power may be taken for it: 20x as 0.5 µm, 40x as 0.25 µm.
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
    leave_out_ink : bool
        Whether ink of a blue, green, black or red pen is taken out of the tissue.
    largest_blur_um : float or None
        Tissue blurred by more (standard deviation, µm) is taken out; None keeps it.
    outline_tolerance_um : float
        Largest distance by which the outline of the tissue is straightened, µm.
    tissue_folder : Path or None
        Folder of outlines that replace those found, each named like its slide: GeoJSON in pixels of level 0, or a
        mask as a picture. Slides without one are segmented.
    batch_size : int
        Tiles read and encoded at a time.
    reading_threads : int
        Threads that read tiles while the previous batch is encoded; results do not depend on it.
    thumbnail_px : int
        Longest side of the preview, pixels.
    """

    encoder: str = "local"
    encoder_options: dict[str, Any] = Field(default_factory=dict)
    default_mpp: float | None = Field(None, ge=0.05, le=20.0)
    mpp_from_objective: bool = False
    mpp: float = Field(0.5, ge=0.05, le=20.0)
    tile_um: float = Field(128.0, ge=16.0, le=10_000.0)
    overlap_um: float = Field(0.0, ge=0.0)
    minimum_tissue: float = Field(0.5, gt=0.0, le=1.0)
    tissue_mpp: float = Field(8.0, ge=1.0, le=64.0)
    tissue_smoothing_um: float = Field(8.0, ge=0.0)
    largest_hole_um2: float = Field(20_000.0, ge=0.0)
    smallest_tissue_um2: float = Field(40_000.0, ge=0.0)
    leave_out_ink: bool = True
    largest_blur_um: float | None = Field(2.0, gt=0.0)
    outline_tolerance_um: float = Field(6.0, ge=0.0)
    tissue_folder: Path | None = None
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
    def mpp_policy(self) -> MppPolicy:
        """What may stand in where a slide says no resolution."""
        return MppPolicy(self.default_mpp, self.mpp_from_objective)

    @property
    def tile_px(self) -> int:
        """Side of a tile in pixels."""
        return round(self.tile_um / self.mpp)

    @property
    def step_um(self) -> float:
        """Distance between the corners of neighbouring tiles in µm."""
        return self.tile_um - self.overlap_um
