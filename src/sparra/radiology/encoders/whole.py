"""What encoders of a whole tumour share: cutting out the input, and the one row of the bag."""

import numpy as np
from numpy.typing import NDArray

from sparra.errors import UserError
from sparra.radiology.encoders.region import CtRegion, Orientation, Rows
from sparra.radiology.encoders.windows import Window, into_window


def cut_out(region: CtRegion, orientation: Orientation, part: tuple[slice, ...], window: Window) -> NDArray[np.float32]:
    """Cut a part out of the oriented region, intensities 0 to 1, 0 where there is no scan."""
    hu = orientation.turn(region.volume)[part].astype(np.float32)
    inside = orientation.turn(region.inside)[part].astype(bool)
    return np.where(inside, into_window(hu, window), np.float32(0))


def one_row(features: NDArray[np.float32], region: CtRegion, orientation: Orientation, part: tuple[slice, ...]) -> Rows:
    """Make the one row of a bag, in the middle of the part that it stands for.

    Raises
    ------
    UserError
        If a feature is not finite.
    """
    if not np.isfinite(features).all():
        raise UserError(
            "the encoder's features are not finite",
            mend="Set 'precision: float32' in encoder_options, and check the weights",
        )
    mask = orientation.turn(region.mask)[part]
    starts = np.array([side.start for side in part], np.float64)
    middle = starts + (np.array(mask.shape) - 1) / 2
    centre = orientation.back(middle[None], region.mask.shape)[:, ::-1]
    length = orientation.back_size((float(mask.shape[0]), float(mask.shape[1]), float(mask.shape[2])))
    return Rows(features, centre, length, np.array([mask.mean()], np.float32), 1)
