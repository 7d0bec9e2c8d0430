"""Looking at every image of a study before any work, on all workers: a file that hangs costs itself alone."""

from collections.abc import Mapping, Sequence
from typing import Any

from sparra.bags.readers import is_bag_file
from sparra.cohort.tables import ImageRecord
from sparra.engine.work import Outcome
from sparra.errors import UserError
from sparra.pathology.annotation import check_folder
from sparra.study.images import check_image
from sparra.study.layout import StudyLayout
from sparra.study.pool import Item, Track, outcomes_of
from sparra.study.settings import StudySettings
from sparra.study.stages import bag_is_current, stored_kind


class Looks:
    """What was found of each image.

    Parameters
    ----------
    settings : StudySettings
    """

    def __init__(self, settings: StudySettings) -> None:
        self.settings, self.layout = settings, StudyLayout(settings.output)
        self._found: dict[tuple[str, int], Outcome] = {}

    def ahead(self, images: Sequence[ImageRecord], track: Track) -> Sequence[ImageRecord]:
        """Look at all images, and return them.

        Raises
        ------
        UserError
            If the folder of outlines is absent, or holds those of other slides.
        """
        settings = self.settings
        slides = [image for image in images if image.modality == "slide" and not is_bag_file(image.path)]
        check_folder(settings.slide.tissue_folder, [slide.path for slide in slides if slide.mask is None])
        new = [image for image in images if not self._is_stored(image)]
        items = [
            Item(image.subject_id, str(image.path), (image, settings.ct, settings.slide, settings.bags))
            for image in new
        ]
        workers = 1 if settings.kind == "serial" else settings.n_workers
        for image, outcome in zip(new, outcomes_of("check", check_image, items, workers, track), strict=True):
            self._found[image.key, image.row] = outcome
        return images

    def kind(self, image: ImageRecord) -> Mapping[str, Any]:
        """Return the kind of a bag's features, of an image its ``notes`` alone.

        Raises
        ------
        UserError
            If the image cannot be used.
        """
        found = self._found.get((image.key, image.row))
        if found is None:
            return stored_kind(self.layout.bag(image.modality, image.key))  # Not read whole a second time.
        if found.status != "done":
            raise UserError(found.what, found.where or None, found.mend or None)
        return found.value  # type: ignore[no-any-return]

    def _is_stored(self, image: ImageRecord) -> bool:
        return is_bag_file(image.path) and bag_is_current(self.settings, image, self.layout)
