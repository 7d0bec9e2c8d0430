"""Slide encoders by name; other packages add theirs through the entry points ``sparra.slide_encoders``."""

from sparra.pathology.encoders.base import SlideEncoder, SlideEncoderEntry
from sparra.pathology.encoders.chief import CHIEF, CHIEF_SLIDE
from sparra.pathology.encoders.conch import CONCH, CONCH_V15
from sparra.pathology.encoders.gigapath import PROV_GIGAPATH
from sparra.pathology.encoders.h_optimus import H_OPTIMUS_1
from sparra.pathology.encoders.hipt import HIPT, HIPT_4K
from sparra.pathology.encoders.local import LOCAL_ENCODER
from sparra.pathology.encoders.phikon import PHIKON_V2
from sparra.pathology.encoders.uni import UNI, UNI2_H
from sparra.pathology.encoders.virchow import VIRCHOW2
from sparra.registry import Registry

__all__ = ["SlideEncoder", "SlideEncoderEntry", "slide_encoders"]

slide_encoders: Registry[SlideEncoderEntry] = Registry("slide encoder", "sparra.slide_encoders")
slide_encoders.register("local")(LOCAL_ENCODER)
slide_encoders.register("hipt")(HIPT)
slide_encoders.register("hipt-4k")(HIPT_4K)
slide_encoders.register("uni")(UNI)
slide_encoders.register("uni2-h")(UNI2_H)
slide_encoders.register("conch")(CONCH)
slide_encoders.register("conch-v1.5")(CONCH_V15)
slide_encoders.register("chief")(CHIEF)
slide_encoders.register("chief-slide")(CHIEF_SLIDE)
slide_encoders.register("virchow2")(VIRCHOW2)
slide_encoders.register("h-optimus-1")(H_OPTIMUS_1)
slide_encoders.register("prov-gigapath")(PROV_GIGAPATH)
slide_encoders.register("phikon-v2")(PHIKON_V2)
