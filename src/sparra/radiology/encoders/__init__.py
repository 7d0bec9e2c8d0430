"""CT encoders by name; a new one is one file here and one line below, or an entry point elsewhere."""

# one line for each encoder: importing it registers it
from sparra.radiology.encoders import local, m3d_clip, pyradiomics, radiomics, renalclip, segvol
from sparra.radiology.encoders.base import CtEncoder, CtEncoderEntry, ct_encoders

__all__ = [
    "CtEncoder",
    "CtEncoderEntry",
    "ct_encoders",
    "local",
    "m3d_clip",
    "pyradiomics",
    "radiomics",
    "renalclip",
    "segvol",
]
