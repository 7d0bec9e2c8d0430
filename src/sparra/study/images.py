"""From one row of ``images.csv`` to a bag on disk, by whichever reader fits."""

from pathlib import Path
from typing import Any

from sparra.bags import Bag, Preview, read_preview, write_bag
from sparra.bags.readers import bag_readers, import_bag, is_bag_file
from sparra.cohort.tables import ImageRecord
from sparra.errors import UserError
from sparra.pathology.annotation import annotation_in, check_annotation
from sparra.pathology.extract import extract_slide
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import check_slide
from sparra.radiology.extract import extract_ct
from sparra.radiology.io import check_ct
from sparra.radiology.settings import CtSettings
from sparra.study.settings import FloatType
from sparra.study.sidecar import begin, make_key, mark_done


def check_image(image: ImageRecord, ct: CtSettings, slide: SlideSettings) -> None:
    """Look at an image's header.

    Raises
    ------
    UserError
        If it is absent, cannot be read, or lacks a mask or a resolution.
    """
    for path in (image.path, image.mask):
        if path is not None and not path.exists():
            raise UserError("the file does not exist", path, "Correct the path or remove the row")
    if is_bag_file(image.path):
        import_bag(image.path, image.modality, image.mpp)
    elif image.modality == "slide":
        check_slide(image.path, image.mpp, slide.mpp_policy)
        if image.mask is not None:
            check_annotation(image.mask)
    else:
        check_ct(image.path, image.mask, image.label or ct.label, image.spacing_mm is not None)


def inputs_of(image: ImageRecord, slide: SlideSettings) -> dict[str, Path]:
    """Return the files that an image's bag depends on."""
    mask = image.mask
    if image.modality == "slide" and mask is None and not is_bag_file(image.path):
        mask = annotation_in(slide.tissue_folder, image.path)
    return {"image": image.path, **({"mask": mask} if mask else {})}


def parameters_of(image: ImageRecord, ct: CtSettings, slide: SlideSettings, dtype: FloatType) -> dict[str, Any]:
    """Return the settings that an image's bag depends on (JSON-ready)."""
    stage = {} if is_bag_file(image.path) else (ct if image.modality == "ct" else slide).model_dump(mode="json")
    label = list(image.label) if image.label else None
    spacing = list(image.spacing_mm) if image.spacing_mm else None
    return {"settings": stage, "label": label, "mpp": image.mpp, "spacing_mm": spacing, "dtype": dtype}


def extract_image(image: ImageRecord, ct: CtSettings, slide: SlideSettings, dtype: FloatType, output: Path) -> None:
    """Write the bag of one image and its sidecar.

    Raises
    ------
    UserError
        If the image cannot be turned into a bag.
    """
    key = make_key("extract", inputs_of(image, slide), parameters_of(image, ct, slide, dtype))
    begin(output)
    bag, preview = _bag_of(image, ct, slide, record_of(output))
    write_bag(output, bag, preview, dtype)
    mark_done(output, key)


def record_of(bag: Path) -> Path:
    """Return the name, without suffix, of the outline and the picture of the tissue beside a slide's bag."""
    return bag.with_name(f"{bag.stem}.tissue")


def _bag_of(image: ImageRecord, ct: CtSettings, slide: SlideSettings, record: Path) -> tuple[Bag, Preview | None]:
    if is_bag_file(image.path):
        native = bag_readers["sparra"].suffixes
        preview = read_preview(image.path) if image.path.suffix.lower() in native else None
        return import_bag(image.path, image.modality, image.mpp), preview
    if image.modality == "slide":
        return extract_slide(image.path, image.mpp, slide, image.mask, image.label, record)
    if image.mask is None:
        raise UserError("the CT has no mask", image.path, "Name its mask in the column 'mask'")
    return extract_ct(image.path, image.mask, image.label or ct.label, ct, image.spacing_mm)
