"""Slides and CTs that are open, a few at a time, and the importance painted over them."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from sparra.bags.preview import Preview
from sparra.bags.store import read_preview
from sparra.errors import UserError
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import Slide
from sparra.radiology.settings import CtSettings
from sparra.settings import Settings
from sparra.viewer.layers import Layer, layer_of
from sparra.viewer.lease import Leases
from sparra.viewer.study import ViewedImage, ViewedStudy
from sparra.viewer.tiles import Pyramid, SlidePicture, Thumbnail, pyramid_of
from sparra.viewer.volumes import Volume, close_volume, open_volume

S = TypeVar("S", bound=Settings)

OPEN_SLIDES = 8
OPEN_VOLUMES = 4
KEPT_LAYERS = 32


class OpenImages:
    """The images of a study, opened when first asked for.

    Parameters
    ----------
    study : ViewedStudy
    room : Path
        Folder for the voxels of open CTs.
    """

    def __init__(self, study: ViewedStudy, room: Path) -> None:
        self._study = study
        self._room = room
        self._slides = Leases(self._open_slide, _close_slide, OPEN_SLIDES)
        self._volumes = Leases(self._open_volume, close_volume, OPEN_VOLUMES)
        self._layers = lru_cache(maxsize=KEPT_LAYERS)(self._find_layer)

    @contextmanager
    def slide(self, key: str) -> Iterator[tuple[SlidePicture, Pyramid]]:
        """Yield a slide, or the thumbnail kept with its features, and its pyramid."""
        with self._slides.lease(key) as opened:
            yield opened

    def volume(self, key: str) -> AbstractContextManager[Volume]:
        """Lease a CT, or the region kept with its features."""
        return self._volumes.lease(key)

    def layer(self, image: ViewedImage, modality: str, aggregator: str) -> Layer | None:
        """Return the importance of an image's patches, None where the method has not used the image."""
        return self._layers(image, modality, aggregator)

    def close(self) -> None:
        """Close what is open."""
        self._slides.close_idle()
        self._volumes.close_idle()

    def _find_layer(self, image: ViewedImage, modality: str, aggregator: str) -> Layer | None:
        return layer_of(self._study, image, modality, aggregator)

    def _open_slide(self, key: str) -> tuple[SlidePicture, Pyramid]:
        image = self._study.images["slide", key]
        if image.record is None:
            preview = self._kept(image)
            thumbnail = Thumbnail(preview)
            return thumbnail, Pyramid.of(thumbnail.size_um, preview.spacing[0])
        settings = _stage_settings(SlideSettings, self._study, "slide")
        slide = Slide(image.record.path, image.record.mpp, settings.mpp_policy)
        return slide, pyramid_of(slide)

    def _open_volume(self, key: str) -> Volume:
        image = self._study.images["ct", key]
        if image.record is None:
            return Volume(self._kept(image))
        settings = _stage_settings(CtSettings, self._study, "ct")
        label = (settings.label,) if isinstance(settings.label, int | str) else settings.label
        return open_volume(image.record, label, settings.resample_mask, self._room)

    def _kept(self, image: ViewedImage) -> Preview:
        preview = read_preview(self._study.layout.bag(image.modality, image.key))
        if preview is None:
            raise UserError("only the features of this image are here, and they came without a picture of it")
        return preview


def _close_slide(opened: tuple[SlidePicture, Pyramid]) -> None:
    slide, _ = opened
    if isinstance(slide, Slide):
        slide.__exit__(None, None, None)


def _stage_settings(kind: type[S], study: ViewedStudy, stage: str) -> S:
    """Return the settings of a stage as the study recorded them."""
    recorded: dict[str, Any] = dict(study.results.settings.get(stage) or {})
    return kind.from_mapping(recorded, str(study.layout.settings))
