"""Masks in any of the usual forms: label maps in NIfTI or NRRD, DICOM-SEG, RTSTRUCT."""

from sparra.radiology.masks.read import MaskKind, check_mask, mask_kind, read_mask

__all__ = ["MaskKind", "check_mask", "mask_kind", "read_mask"]
