"""CLAM: ``h5_files/<slide>.h5`` or ``pt_files/<slide>.pt``, and the patches' file ``patches/<slide>.h5``.

Features (N, D) float32 and ``coords`` (N, 2), top-left corners in pixels of level 0. The size of a patch stands only
in the attributes of ``patches/<slide>.h5``: ``patch_size`` at ``patch_level``, times ``downsample`` to level 0.
Batches are appended as they come, so a killed run leaves fewer rows. Older "fishing-rod" files are (1, N, D). Where the
patches' file holds their pixels (``imgs``, as CLAM without "fp" writes), coordinates are in pixels of the patches, and
the attributes stand on ``imgs``.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from sparra.bags.foreign import BagSource, ForeignBag, require_same_number
from sparra.bags.readers import torch_tensor
from sparra.bags.readers.hdf5 import array_in, number, open_hdf5, plain_attributes
from sparra.bags.readers.registry import BagReader, bag_readers
from sparra.bags.store import own_item
from sparra.errors import UserError

ATTRIBUTES = ("patch_size", "patch_level", "downsample", "custom_downsample", "level_dim", "downsampled_level_dim")
IN_PATCH_PIXELS = "coords_in_pixels_of_patches"


def recognise(path: Path) -> bool:
    """Take an HDF5 file with ``features``, or a ``.pt`` in a folder ``pt_files``."""
    if path.suffix.lower() == ".pt":
        return path.parent.name == "pt_files"
    with open_hdf5(path) as file:
        return "features" in file


def companions(source: BagSource) -> tuple[Path, ...]:
    """Return the patches' file, and for a ``.pt`` the ``.h5`` that holds its coordinates."""
    h5 = _h5_of(source.path) if source.path.suffix.lower() == ".pt" else None
    patches = _patches_of(source)
    return tuple(path for path in (h5, patches) if path is not None and path.is_file())


def read(source: BagSource) -> ForeignBag:
    """Read the features of one slide and join them to the patches that they were made from.

    Raises
    ------
    UserError
        If a file is damaged or truncated.
    """
    path = source.path
    patches = _patches_of(source)
    attributes: dict[str, Any] = {}
    coords = None
    if path.suffix.lower() == ".pt":
        stored = torch_tensor.read(source)
        features, coords = stored.features, stored.positions
        if _h5_of(path).is_file():
            coords, attributes = _coordinates(_h5_of(path))
    else:
        with open_hdf5(path) as file:
            features = array_in(file, "features", path)
            coords = _squeezed(array_in(file, "coords", path)) if "coords" in file else None
            attributes = plain_attributes(file["coords"].attrs, ATTRIBUTES) if coords is not None else {}
    if patches is not None:
        planned, planned_attributes = _coordinates(patches)
        require_same_number(features, len(planned), patches)
        if coords is None:
            coords = planned
        elif coords.shape == planned.shape and not np.array_equal(coords, planned):
            what = f"its coordinates differ from those in patches/{patches.name}, so the two are of different runs"
            raise UserError(what, path, "Extract this image again")
        attributes = {**planned_attributes, **attributes}
    if IN_PATCH_PIXELS in attributes and coords is not None and coords.dtype.kind in "iuf":
        factor = _downsample(attributes)
        if factor is None:
            what = "its coordinates are in pixels of the patches, and it does not say how many of level 0 make one"
            raise UserError(what, path, "Cut the patches again with CLAM, which writes 'downsample' beside them")
        coords = coords * factor
    return ForeignBag(
        features=features,
        positions=coords,
        side=side_of(attributes),
        encoder_px=_encoded_px(attributes),
        attributes=attributes,
    )


def _h5_of(path: Path) -> Path:
    return path.parent.parent / "h5_files" / f"{path.stem}.h5"


def _patches_of(source: BagSource) -> Path | None:
    if source.settings.patches is None:
        return _patches_near(source.path)
    given = source.settings.patches / f"{source.path.stem}.h5"
    if not given.is_file():
        mend = "Give the folder 'patches' that CLAM's create_patches wrote"
        raise UserError(f"there is no patches file {given.name} in {source.settings.patches}", source.path, mend)
    return given


def _patches_near(path: Path) -> Path | None:
    """Look for ``patches/<slide>.h5`` beside the feature folder and one level up."""
    features = path.parent.parent if path.parent.name in ("h5_files", "pt_files") else path.parent
    for folder in (features, features.parent):
        candidate = folder / "patches" / f"{path.stem}.h5"
        if candidate.is_file() and candidate != path:
            return candidate
    return None


def _coordinates(path: Path) -> tuple[Any, dict[str, Any]]:
    with open_hdf5(path) as file:
        coords = _squeezed(array_in(file, "coords", path))
        pictures = own_item(file, "imgs") if "imgs" in file else None
        if isinstance(pictures, h5py.Dataset) and pictures.ndim == 4:
            return coords, _attributes_of_pictures(pictures)
        return coords, plain_attributes(file["coords"].attrs, ATTRIBUTES)


def _attributes_of_pictures(pictures: h5py.Dataset) -> dict[str, Any]:
    """Return the attributes as they would stand on coordinates, with how often patches were made smaller."""
    attributes = plain_attributes(pictures.attrs, ATTRIBUTES)
    level, smaller = number(attributes, "level_dim"), number(attributes, "downsampled_level_dim")
    custom = round(level / smaller) if level and smaller else 1
    return attributes | {"patch_size": pictures.shape[1], "custom_downsample": custom, IN_PATCH_PIXELS: True}


def _squeezed(values: Any) -> Any:
    return values[0] if values.ndim == 3 and len(values) == 1 else values


def _downsample(attributes: dict[str, Any]) -> float | None:
    """Return pixels of level 0 a pixel of the patch; None if that cannot be known."""
    factor = number(attributes, "downsample")
    if factor is None and attributes.get("patch_level") == 0:
        factor = 1.0
    return None if factor is None else factor * (number(attributes, "custom_downsample") or 1.0)


def side_of(attributes: dict[str, Any]) -> float | None:
    """Return the side of a patch in pixels of level 0, from the attributes of its coordinates."""
    size, factor = number(attributes, "patch_size"), _downsample(attributes)
    return size * factor if size and factor else None


def _encoded_px(attributes: dict[str, Any]) -> float | None:
    # Without the downsample the patch's side at level 0 is not known, and so its resolution neither.
    return number(attributes, "patch_size") if _downsample(attributes) else None


bag_readers.register("clam")(BagReader("CLAM", (".h5", ".pt"), recognise, read, 60, companions))
