"""What can be wrong with a tumour mask or its CT; each error is one sentence for the user."""

from sparra.errors import UserError


class EmptyMaskError(UserError):
    """The mask holds background only."""


class LabelAbsentError(UserError):
    """The mask holds labels, but not the one asked for; the sentence lists those that exist."""


class MaskTooSmallError(UserError):
    """The chosen component is smaller than the settings allow; the sentence gives its volume in mm³."""


class OutsideImageError(UserError):
    """Part of the mask lies outside its CT; the sentence gives its volume in mm³."""


class GeometryMismatchError(UserError):
    """CT and mask lie on different grids; the sentence gives the differences in voxels and mm."""


class NonFiniteVoxelsError(UserError):
    """The region of interest of the CT holds NaN or infinite voxels."""
