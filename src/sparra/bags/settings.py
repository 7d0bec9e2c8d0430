"""What a user says about feature files of other tools that the files do not say themselves."""

from pathlib import Path

from pydantic import Field

from sparra.settings import Settings


class ImportSettings(Settings):
    """Facts about imported bags that hold for a whole cohort.

    Attributes
    ----------
    mpp_from_magnification : bool
        Whether 10 µm / objective power may stand for an unknown µm per pixel of level 0 (40x: 0.25). It is off by
        up to a third on some scanners, so it has to be allowed.
    grid_mpp : float or None
        µm per pixel of the resolution that tiles were read at, for formats whose positions are on that grid
        (TIAToolbox, HistoSSLscaling, graph nodes).
    tile_px : float or None
        Side of a tile in the pixels that positions are in, for formats that hold none.
    encoder : str or None
        Name of the encoder, for formats that hold none.
    patches : Path or None
        Folder of CLAM's ``patches/<slide>.h5``, where it is not beside the features.
    """

    mpp_from_magnification: bool = False
    grid_mpp: float | None = Field(default=None, gt=0)
    tile_px: float | None = Field(default=None, gt=0)
    encoder: str | None = Field(default=None, min_length=1)
    patches: Path | None = None
