"""Slide encoders by name; other packages add theirs through the entry points ``sparra.slide_encoders``."""

from sparra.pathology.encoders.base import SlideEncoder, SlideEncoderEntry
from sparra.pathology.encoders.local import LOCAL_ENCODER
from sparra.registry import Registry

__all__ = ["SlideEncoder", "SlideEncoderEntry", "slide_encoders"]

slide_encoders: Registry[SlideEncoderEntry] = Registry("slide encoder", "sparra.slide_encoders")
slide_encoders.register("local")(LOCAL_ENCODER)
