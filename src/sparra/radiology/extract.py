"""From a CT and its tumour mask to a bag of patch features in millimetres, and a preview for the maps."""

# SimpleITK's classes carry no types.
# mypy: disable-error-code="no-untyped-call"

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from sparra import __version__
from sparra.bags.bag import Bag
from sparra.bags.preview import Preview
from sparra.encoders import weights_of
from sparra.files import sha256_of
from sparra.radiology.encoders import CtEncoder, ct_encoders
from sparra.radiology.encoders.region import CtRegion, RegionEncoder, Rows, Triple
from sparra.radiology.errors import MaskTooSmallError, NonFiniteVoxelsError
from sparra.radiology.geometry import Grid
from sparra.radiology.io import Reading, read_pair
from sparra.radiology.masks import mask_kind
from sparra.radiology.masks.labels import Labels
from sparra.radiology.masks.provenance import read_mask_provenance
from sparra.radiology.patches import overhang, place_patches
from sparra.radiology.region import Tumour, select_tumour
from sparra.radiology.resample import isotropic_grid, needed_box, resample_image, resample_mask
from sparra.radiology.settings import CtSettings


@dataclass(frozen=True)
class Region:
    """The resampled region of interest.

    Attributes
    ----------
    volume : ndarray of float32, shape (z, y, x)
        Whole HU.
    mask : ndarray of bool, shape (z, y, x)
    grid : Grid
    shown : tuple of slice
        Part [z, y, x] that goes into the preview: the tumour and the settings' margin.
    """

    volume: NDArray[np.float32]
    mask: NDArray[np.bool_]
    grid: Grid
    shown: tuple[slice, ...]


def extract_ct(
    image: Path,
    mask: Path,
    label: Labels | None,
    settings: CtSettings,
    spacing_mm: Sequence[float] | None = None,
    *,
    series: str | None = None,
    resample_mask: bool = False,
) -> tuple[Bag, Preview]:
    """Turn one CT and its mask into a bag and a preview.

    Steps: pick the label and its component; crop around it; resample the crop to the isotropic grid of the
    whole scan (cubic B-spline, whole HU; nearest neighbour for the mask); lay a grid of cubic patches over
    the tumour's box; encode each patch.

    Parameters
    ----------
    image : Path
        NIfTI or NRRD file, or a folder of DICOM slices.
    mask : Path
        Label map, DICOM-SEG or RTSTRUCT.
    label : int, str, sequence of them or None
        Label of the tumour, see `sparra.radiology.masks.read_mask`; None takes the one in `settings`.
    settings : CtSettings
    spacing_mm : sequence of float, optional
        Voxel size along x, y, z that replaces the headers' of CT and mask.
    series : str, optional
        SeriesNumber or SeriesInstanceUID, where the folder holds several.
    resample_mask : bool
        Whether a mask off the CT's lattice is resampled onto it; so does `settings.resample_mask`.

    Returns
    -------
    bag : Bag
        Positions are the patches' centres in mm, LPS; extras hold ``tumour_fraction``.
    preview : Preview
        The region of interest on the isotropic grid, int16 HU.

    Raises
    ------
    UserError
        And its subclasses of `sparra.radiology.errors`, one sentence for whatever is wrong with the files.
    """
    wanted = settings.label if label is None else label
    voxel_size = tuple(spacing_mm) if spacing_mm is not None else None
    reading = Reading(voxel_size, series, resample_mask or settings.resample_mask)
    ct_image, mask_image = read_pair(image, mask, wanted, reading)
    scan = Grid.of(ct_image)
    tumour = select_tumour(sitk.GetArrayViewFromImage(mask_image).view(bool), settings.component)
    volume_mm3 = float(tumour.mask.sum()) * scan.voxel_mm3
    if volume_mm3 < settings.minimum_volume_mm3:
        raise _too_small(volume_mm3, settings, mask)
    entry = ct_encoders[settings.encoder]
    encoder = entry.build(entry.settings.from_mapping(settings.encoder_options, where="encoder_options"))
    voxels = sitk.GetArrayViewFromImage(ct_image)
    extent = encoder.extent if isinstance(encoder, RegionEncoder) else None
    region = _resample_region(voxels, scan, tumour, settings, image, extent)
    if not region.mask.any():
        raise _too_small(volume_mm3, settings, mask)
    if isinstance(encoder, RegionEncoder):
        rows = _whole_rows(encoder, region, scan, voxels, tumour, settings)
    else:
        rows = _patch_rows(encoder, region, settings)
    bag = Bag(
        modality="ct",
        features=rows.features,
        positions=region.grid.to_mm(rows.centres),
        patch_size=tuple(n * settings.spacing_mm for n in rows.size),
        feature_names=encoder.feature_names,
        extras={"tumour_fraction": rows.tumour_fraction},
        provenance={
            "encoder": asdict(entry.card),
            "settings": settings.model_dump(mode="json"),
            "label": wanted if isinstance(wanted, int | str) else list(wanted),
            "mask": {"kind": mask_kind(mask), "may_be_resampled": reading.resample_mask, **read_mask_provenance(mask)},
            "source_sha256": {"image": sha256_of(image), "mask": sha256_of(mask)},
            "scan_spacing_mm": list(scan.spacing),
            "scan_size": list(scan.size),
            "tumour_volume_mm3": volume_mm3,
            "components_found": tumour.components,
            "dropped_volume_mm3": tumour.dropped_voxels * scan.voxel_mm3,
            "candidate_patches": rows.candidates,
            "weights": weights_of(encoder),
            "grid": _as_json(region.grid),
            "versions": _versions(),
        },
    )
    return bag, _preview(region)


def _too_small(volume_mm3: float, settings: CtSettings, mask: Path) -> MaskTooSmallError:
    return MaskTooSmallError(
        f"the tumour has {volume_mm3:.4g} mm³, less than minimum_volume_mm3"
        f" {settings.minimum_volume_mm3:g} or than one voxel of spacing_mm {settings.spacing_mm:g}",
        mask,
        "Check the mask and its label, or lower the setting",
    )


def _patch_rows(encoder: CtEncoder, region: Region, settings: CtSettings) -> Rows:
    patches = place_patches(
        region.mask, settings.patch_voxels, settings.stride_voxels, settings.minimum_tumour_fraction
    )
    patches = replace(patches, spacing_mm=settings.spacing_mm)
    features = encoder.encode(region.volume, region.mask, patches)
    size = (float(patches.edge),) * 3
    return Rows(features, patches.centres, size, patches.tumour_fraction, patches.candidates)


def _whole_rows(
    encoder: RegionEncoder,
    region: Region,
    scan: Grid,
    voxels: NDArray[np.float32],
    tumour: Tumour,
    settings: CtSettings,
) -> Rows:
    inside = resample_mask(np.ones(voxels.shape, np.bool_), scan, region.grid)
    fraction = settings.minimum_tumour_fraction
    whole = CtRegion(region.volume, region.mask, inside, region.grid, voxels, fraction, scan, tumour)
    return encoder.encode_region(whole)


def _resample_region(
    voxels: NDArray[np.float32],
    scan: Grid,
    tumour: Tumour,
    settings: CtSettings,
    where: Path,
    needed: Callable[[Triple, Grid], Triple] | None,
) -> Region:
    """Crop to what the tumour's box, its margin and the encoder need, then resample that crop only."""
    isotropic = isotropic_grid(scan, settings.spacing_mm)
    extent = np.array(tumour.mask.shape[::-1])
    box = scan.part(tumour.start, extent)
    outer = np.array([[-0.5] * 3, extent - 0.5])
    # Each grid's axes point the same way, so the box's outer corners stay its outer corners.
    begin, end = isotropic.to_index(box.to_mm(outer))
    rim = max(int(np.ceil(settings.margin_mm / settings.spacing_mm)), overhang(settings.patch_voxels))
    start = np.floor(begin + 0.5).astype(int)
    stop = np.ceil(end + 0.5).astype(int)
    more = np.zeros(3, int)
    if needed is not None:
        x, y, z = (int(n) for n in stop - start)
        more = (-((stop - start + 2 * rim - needed((z, y, x), isotropic)[::-1]) // 2)).clip(0)
    shown = tuple(slice(m, m + n) for m, n in zip(more[::-1], (stop - start + 2 * rim)[::-1], strict=True))
    start, stop = start - rim - more, stop + rim + more
    target = isotropic.part(start, stop - start)
    low, high = needed_box(scan, target)
    crop = np.ascontiguousarray(voxels[low[2] : high[2], low[1] : high[1], low[0] : high[0]])
    broken = int(crop.size - np.isfinite(crop).sum())
    if broken:
        raise NonFiniteVoxelsError(
            f"{broken} voxels in or near the region of interest are NaN or infinite",
            where,
            "Export the CT again, or set them to -1024 HU if they lie outside the body",
        )
    volume = resample_image(crop, scan.part(low, high - low), target)
    # IBSI: CT intensities are whole numbers, also after interpolation.
    return Region(np.rint(volume), resample_mask(tumour.mask, box, target), target, shown)


def _preview(region: Region) -> Preview:
    limits = np.iinfo(np.int16)
    first = np.array([part.start for part in region.shown])[::-1]
    grid = region.grid.part(first, [part.stop - part.start for part in region.shown][::-1])
    return Preview(
        modality="ct",
        pixels=region.volume[region.shown].clip(limits.min, limits.max).astype(np.int16),
        mask=region.mask[region.shown],
        spacing=grid.spacing,
        origin=grid.origin,
        direction=grid.direction,
    )


def _as_json(grid: Grid) -> dict[str, Any]:
    return {
        "size": list(grid.size),
        "spacing_mm": list(grid.spacing),
        "origin_mm": list(grid.origin),
        "direction": grid.direction.tolist(),
    }


def _versions() -> dict[str, str]:
    return {
        "sparra": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "simpleitk": version("SimpleITK"),
    }
