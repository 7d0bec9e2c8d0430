"""From what another tool wrote to a bag: every rule of import in one place, whatever the format."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sparra.bags.bag import Bag
from sparra.bags.encoder_names import check_dimension, common_name
from sparra.bags.settings import ImportSettings
from sparra.errors import UserError
from sparra.modality import Modality

AGAIN = "Extract this image again or remove its row"
# The ranges of µm per pixel that TRIDENT calls by one magnification; other tools round alike.
MPP_OF_MAGNIFICATION = {80: (0.0, 0.16), 60: (0.16, 0.2), 40: (0.2, 0.3), 20: (0.3, 0.6), 10: (0.6, 1.2), 5: (1.2, 2.4)}
# From, and below: 10, 20 and 40 are magnifications that were given for µm per pixel.
PLAUSIBLE_MPP = (0.05, 10.0)
LARGEST = np.finfo(np.float32).max

Features = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class BagSource:
    """A feature file, and what is said of it elsewhere.

    Attributes
    ----------
    path : Path
        File, or folder (zarr).
    modality : {"ct", "slide"}
    mpp : float or None
        µm per pixel of level 0 of the slide.
    settings : ImportSettings
    """

    path: Path
    modality: Modality
    mpp: float | None = None
    settings: ImportSettings = field(default_factory=ImportSettings)


@dataclass(frozen=True)
class ForeignBag:
    """What a file of another tool holds, not judged yet and in the file's own units.

    Attributes
    ----------
    features : ndarray
        As stored: shape and type may be wrong.
    positions : ndarray or None
        As stored, shape (n, 2).
    anchor : {"corner", "centre"}
        What a position is of a tile: its top-left corner or its centre.
    unit : {"level0", "grid", "um"}
        Of positions: pixels of level 0, pixels of the resolution that the tiles were read at, or µm.
    side : float or None
        Side of a tile, in the unit of positions.
    side_um : float or None
        The same in µm, where the format says so.
    encoder_px : float or None
        Pixels along a side that the tile had when it was encoded.
    mpp : float or None
        µm per pixel of `unit`, where the format holds it.
    magnification : float or None
        Objective power of level 0, where the format holds it.
    encoder : str or None
    feature_names : tuple of str
    extras : mapping of str to ndarray
    repeats : bool
        Whether several rows may lie at one position, as the nodes of a graph with rounded positions do.
    notes : tuple of str
        What a user should know.
    attributes : mapping
        Further facts of the format, JSON-ready.
    """

    features: NDArray[Any]
    positions: NDArray[Any] | None = None
    anchor: Literal["corner", "centre"] = "corner"
    unit: Literal["level0", "grid", "um"] = "level0"
    side: float | None = None
    side_um: float | None = None
    encoder_px: float | None = None
    mpp: float | None = None
    magnification: float | None = None
    encoder: str | None = None
    feature_names: tuple[str, ...] = ()
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    repeats: bool = False
    notes: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


def bag_of(foreign: ForeignBag, source: BagSource) -> Bag:
    """Turn what a file holds into a bag with tile centres in µm.

    Parameters
    ----------
    foreign : ForeignBag
    source : BagSource

    Returns
    -------
    Bag
        Its provenance holds ``encoder`` (one spelling for all tools), ``encoder_in_file``, ``notes``, and, where
        there are positions, ``mpp``, ``mpp_source`` and ``tile_mpp`` (µm per pixel that the encoder saw).

    Raises
    ------
    UserError
        If features or positions are unusable, do not go together, or cannot be brought to µm.
    """
    try:
        return _bag_of(foreign, source)
    except UserError as error:
        raise UserError(error.what, error.where or source.path, error.mend or AGAIN) from None


def _bag_of(foreign: ForeignBag, source: BagSource) -> Bag:
    notes = list(foreign.notes)
    features = checked_features(foreign.features, notes)
    encoder = _encoder(foreign, source.settings, features.shape[1])
    provenance: dict[str, Any] = {"encoder": encoder, "encoder_in_file": foreign.encoder}
    if foreign.attributes:
        provenance["source_attributes"] = _json_ready(foreign.attributes)
    positions = None
    patch_size = None
    kept = np.arange(len(features))
    if foreign.positions is None:
        notes.append("it holds no positions, so edges can only be drawn by likeness of features")
    elif source.modality == "ct":
        raise UserError("it holds tiles of a slide, the table says ct", mend="Correct the table")
    else:
        corners = checked_positions(foreign.positions, len(features))
        scale = resolve_scale(foreign, source, notes)
        positions, side_um = _centres_um(foreign, source.settings, corners, scale.um)
        patch_size = None if side_um is None else (side_um, side_um)
        provenance |= scale.provenance(foreign, side_um)
        kept = _without_repeats(features, corners, foreign.repeats, notes)
        positions = positions[kept]
    return Bag(
        modality=source.modality,
        features=np.ascontiguousarray(features[kept]),
        positions=positions,
        patch_size=patch_size,
        feature_names=foreign.feature_names,
        extras={name: values[kept] for name, values in foreign.extras.items()},
        provenance={**provenance, "notes": notes},
    )


def _json_ready(facts: Mapping[str, Any]) -> Any:
    """Return facts of a file as JSON holds them, NaN as null, whatever was in the file."""
    return json.loads(json.dumps(dict(facts), default=str), parse_constant=lambda _: None)


def checked_features(features: NDArray[Any], notes: list[str]) -> Features:
    """Return features of shape (n, d), float and finite, or say what is wrong with them.

    Raises
    ------
    UserError
        If they are of another shape or type, or rows are empty, NaN, infinite, too large for float32 or all zeros.
    """
    if features.dtype.kind != "f":
        raise UserError(f"the features are of type {features.dtype}, not float", mend=AGAIN)
    if features.ndim == 3 and len(features) == 1:
        features = features[0]
        notes.append("features were stored as (1, N, D)")
    if features.ndim == 1 and features.size:
        raise UserError(
            f"it has shape {features.shape}, one vector of the whole slide instead of one a patch",
            mend="Give the folder of patch features",
        )
    if features.ndim > 2:
        told = "regions by tiles by values" if features.ndim == 3 else "maps of features, not one row a tile"
        raise UserError(
            f"it holds features of shape {features.shape}, {told}", mend="Give the tile embeddings, one row a tile"
        )
    if features.ndim != 2 or 0 in features.shape:
        raise UserError(f"it holds no patch (features of shape {features.shape})", mend=AGAIN)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        raise UserError(f"{len(bad)} patches hold NaN or infinite features, first at row {bad[0]}")
    if features.dtype.itemsize > LARGEST.dtype.itemsize:
        large = np.flatnonzero((np.abs(features) > LARGEST).any(axis=1))
        if len(large):
            raise UserError(f"{len(large)} patches hold features too large for float32, first at row {large[0]}")
    empty = np.flatnonzero(~features.any(axis=1))
    if len(empty):
        what = f"{len(empty)} patches hold only zeros, first at row {empty[0]}, as a writer leaves that was stopped"
        raise UserError(what)
    return features


def checked_positions(positions: NDArray[Any], n_patches: int) -> NDArray[np.float64]:
    """Return positions of shape (n_patches, 2) in float64.

    Raises
    ------
    UserError
        If they are of another shape or number, no numbers, or not finite.
    """
    if positions.ndim == 3 and len(positions) == 1:
        positions = positions[0]
    if positions.dtype.kind not in "iuf":
        raise UserError(f"the positions are of type {positions.dtype}, not numbers")
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise UserError(f"the positions have shape {positions.shape}, expected ({n_patches}, 2)")
    if len(positions) != n_patches:
        raise UserError(f"there are {n_patches} rows of features but {len(positions)} positions")
    checked = positions.astype(np.float64)
    if not np.isfinite(checked).all():
        raise UserError("positions hold NaN or infinite values")
    return checked


@dataclass(frozen=True)
class Scale:
    """µm per unit of a file's positions.

    Attributes
    ----------
    um : float
    source : str
        Where it is from.
    """

    um: float
    source: str

    def provenance(self, foreign: ForeignBag, side_um: float | None) -> dict[str, Any]:
        """Return the facts that a bag keeps of it (JSON-ready)."""
        tile_mpp = None
        if foreign.encoder_px and side_um:
            tile_mpp = side_um / foreign.encoder_px
        elif foreign.unit == "grid":
            tile_mpp = self.um
        mpp = self.um if foreign.unit == "level0" else None
        return {"mpp": mpp, "mpp_source": self.source, "tile_mpp": tile_mpp, "unit_in_file": foreign.unit}


def resolve_scale(foreign: ForeignBag, source: BagSource, notes: list[str]) -> Scale:
    """Find the µm per unit of a file's positions.

    Raises
    ------
    UserError
        If neither the file nor the user says it, or the two cannot both be true.
    """
    if foreign.unit == "um":
        return Scale(1.0, "positions are in µm")
    if foreign.unit == "grid":
        return _grid_scale(foreign, source.settings)
    if source.mpp is not None:
        _check_supplied(source.mpp, foreign, notes)
        return Scale(source.mpp, "supplied")
    if foreign.mpp is not None:
        return _scale_of_file(foreign.mpp)
    if foreign.magnification and source.settings.mpp_from_magnification:
        mpp = 10.0 / foreign.magnification
        notes.append(f"mpp {mpp:g} was derived from {foreign.magnification:g}x, and may be off by a third")
        return Scale(mpp, "magnification")
    told = f", only the magnification {foreign.magnification:g}x" if foreign.magnification else ""
    allow = ", or allow 10 / magnification with mpp_from_magnification" if foreign.magnification else ""
    raise UserError(
        f"it does not say the µm per pixel of its slide{told}",
        mend=f"Give it in the 'mpp' column of images.csv or with --mpp{allow}",
    )


def _grid_scale(foreign: ForeignBag, settings: ImportSettings) -> Scale:
    if settings.grid_mpp is not None:
        if not PLAUSIBLE_MPP[0] <= settings.grid_mpp < PLAUSIBLE_MPP[1]:
            what = f"a grid_mpp of {settings.grid_mpp:g} µm per pixel is not plausible"
            raise UserError(what, mend="Give the µm per pixel that tiles were read at, e.g. 0.5 for 20x")
        return Scale(settings.grid_mpp, "supplied")
    if foreign.mpp is not None:
        return _scale_of_file(foreign.mpp)
    raise UserError(
        "its positions are pixels of the resolution that the tiles were read at, which it does not say",
        mend="Give that resolution with --grid-mpp, or as 'grid_mpp' in 'bags.imports' of study.yaml, e.g. 0.5",
    )


def _scale_of_file(mpp: float) -> Scale:
    if not PLAUSIBLE_MPP[0] <= mpp < PLAUSIBLE_MPP[1]:
        what = f"it says {mpp:g} µm per pixel, which is not plausible"
        raise UserError(what, mend="Give the true one in the 'mpp' column of images.csv or with --mpp (--grid-mpp)")
    return Scale(mpp, "file")


def _check_supplied(mpp: float, foreign: ForeignBag, notes: list[str]) -> None:
    if not PLAUSIBLE_MPP[0] <= mpp < PLAUSIBLE_MPP[1]:
        raise UserError(f"an mpp of {mpp:g} µm per pixel is not plausible", mend="Give the mpp of level 0, e.g. 0.25")
    limits = MPP_OF_MAGNIFICATION.get(int(foreign.magnification)) if foreign.magnification else None
    if limits and foreign.mpp is None and not limits[0] * 0.9 <= mpp <= limits[1] * 1.1:
        raise UserError(
            f"the mpp {mpp:g} contradicts the file, which says {foreign.magnification:g}x "
            f"({limits[0]:g} to {limits[1]:g} µm per pixel)",
            mend="Give the mpp of level 0 of this slide",
        )
    if foreign.mpp is not None and abs(mpp / foreign.mpp - 1) > 0.02:
        notes.append(f"the mpp given, {mpp:g}, replaces {foreign.mpp:g} of the file")


def _centres_um(
    foreign: ForeignBag, settings: ImportSettings, positions: NDArray[np.float64], um: float
) -> tuple[NDArray[np.float64], float | None]:
    """Return tile centres in µm, shape (n, 2), and the side of a tile in µm, None where it is not known."""
    side_um = foreign.side_um
    if foreign.side is not None:
        side_um = foreign.side * um
    elif side_um is None and settings.tile_px is not None and foreign.unit != "um":
        side_um = settings.tile_px * um
    if side_um is not None and not 0 < side_um < np.inf:
        raise UserError(f"its tiles have a side of {side_um:g} µm")
    if foreign.anchor == "centre":
        return positions * um, side_um
    if side_um is None:
        raise UserError(
            "its positions are corners of tiles, but it does not say how large the tiles are",
            mend="Give the side of a tile in those pixels with --tile-px, or as 'tile_px' in 'bags.imports'",
        )
    return positions * um + side_um / 2, side_um


def _without_repeats(
    features: Features, positions: NDArray[np.float64], allowed: bool, notes: list[str]
) -> NDArray[np.intp]:
    """Return the rows to keep: a patch that is there twice counts once; two different ones are an error."""
    _, first, group = np.unique(positions, axis=0, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[group.ravel()] != np.arange(len(positions)))
    if not len(repeated):
        return np.arange(len(positions))
    if allowed:
        notes.append(f"{len(repeated)} rows share the position of another")
        return np.arange(len(positions))
    same = (features[repeated] == features[first[group.ravel()[repeated]]]).all(axis=1)
    if not same.all():
        row = repeated[~same][0]
        raise UserError(
            f"{len(repeated)} patches lie where another lies, with other features, first at row {row}",
            mend="The file was written twice or joins two runs. Extract this image again",
        )
    notes.append(f"{len(repeated)} patches were there twice and count once")
    return np.setdiff1d(np.arange(len(positions)), repeated)


def _encoder(foreign: ForeignBag, settings: ImportSettings, n_features: int) -> str:
    """Return the encoder's common name, after checking it against the number of features."""
    written = None if foreign.encoder in (None, "", "None") else foreign.encoder
    if written and settings.encoder and common_name(written) != common_name(settings.encoder):
        raise UserError(
            f"it says that encoder '{written}' made it, the settings say '{settings.encoder}'",
            mend="Correct or leave out 'encoder'",
        )
    name = written or settings.encoder
    if name is None:
        return "unknown"
    check_dimension(name, n_features)
    return common_name(name)


def require_same_number(features: NDArray[Any], n_patches: int, patches: Path) -> None:
    """Compare a feature file's rows with the file of patches that it was made from.

    Raises
    ------
    UserError
        If the numbers differ; fewer features than patches means that extraction was stopped.
    """
    n_features = features.shape[-2] if features.ndim > 1 else features.size
    if n_features < n_patches:
        raise UserError(
            f"the file is truncated: it holds features of {n_features} of the {n_patches} patches in "
            f"{patches.parent.name}/{patches.name}",
            mend=AGAIN,
        )
    if n_features > n_patches:
        raise UserError(
            f"it holds {n_features} rows of features, more than the {n_patches} patches in "
            f"{patches.parent.name}/{patches.name}",
            mend="Patches and features are of different runs. Extract this image again",
        )
