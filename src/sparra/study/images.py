"""From one row of ``images.csv`` to a bag on disk, by whichever reader fits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparra.bags import Bag, Preview, read_preview, write_bag
from sparra.bags.readers import import_bag, is_bag_file, parts_of
from sparra.cohort.tables import ImageRecord
from sparra.errors import UserError
from sparra.pathology.annotation import annotation_in, check_outline
from sparra.pathology.extract import extract_slide, slide_notes
from sparra.pathology.settings import SlideSettings
from sparra.pathology.slide import check_slide
from sparra.radiology.extract import extract_ct
from sparra.radiology.io import check_ct
from sparra.radiology.settings import CtSettings
from sparra.study.kinds import kind_of
from sparra.study.settings import BagsSettings
from sparra.study.sidecar import begin, make_key, mark_done


def check_image(image: ImageRecord, ct: CtSettings, slide: SlideSettings, bags: BagsSettings) -> Mapping[str, Any]:
    """Look at an image's header, or read its bag whole.

    Returns
    -------
    mapping
        The kind of features of a bag (`kind_of`); of an image its ``notes`` alone.

    Raises
    ------
    UserError
        If it is absent, cannot be read, or lacks a mask or a resolution.
    """
    for path in (image.path, image.mask):
        if path is not None and not path.exists():
            raise UserError("the file does not exist", path, "Correct the path or remove the row")
    if is_bag_file(image.path):
        return kind_of(import_bag(image.path, image.modality, image.mpp, bags.imports))
    if image.modality == "slide":
        resolution = check_slide(image.path, image.mpp, slide.mpp_policy)
        outline = image.mask or annotation_in(slide.tissue_folder, image.path)
        if outline is not None:
            check_outline(outline)
        return {"notes": slide_notes(max(resolution.x, resolution.y), slide)}
    check_ct(
        image.path,
        image.mask,
        image.label or ct.label,
        image.spacing_mm is not None,
        series=image.series,
        resample_mask=image.resample_mask or ct.resample_mask,
    )
    return {"notes": []}


def inputs_of(image: ImageRecord, slide: SlideSettings, bags: BagsSettings) -> dict[str, Path]:
    """Return the files that an image's bag depends on."""
    mask, parts = image.mask, tuple[Path, ...]()
    if is_bag_file(image.path):
        parts = tuple(parts_of(image.path, image.mpp, bags.imports))
    elif image.modality == "slide" and mask is None:
        mask = annotation_in(slide.tissue_folder, image.path)
    further = {f"part {number}": path for number, path in enumerate(parts)}
    return {"image": image.path, **({"mask": mask} if mask else {}), **further}


def parameters_of(image: ImageRecord, ct: CtSettings, slide: SlideSettings, bags: BagsSettings) -> dict[str, Any]:
    """Return the settings that an image's bag depends on (JSON-ready)."""
    settings = bags.imports if is_bag_file(image.path) else ct if image.modality == "ct" else slide
    stage = settings.model_dump(mode="json")
    dtype = bags.dtype.of(image.modality)
    label = list(image.label) if image.label else None
    spacing = list(image.spacing_mm) if image.spacing_mm else None
    return {
        "settings": stage,
        "label": label,
        "mpp": image.mpp,
        "spacing_mm": spacing,
        "series": image.series_digest,
        "resample_mask": image.resample_mask,
        "dtype": dtype,
    }


def extract_image(image: ImageRecord, ct: CtSettings, slide: SlideSettings, bags: BagsSettings, output: Path) -> None:
    """Write the bag of one image and its sidecar, which also holds of what kind its features are.

    Raises
    ------
    UserError
        If the image cannot be turned into a bag.
    """
    key = make_key("extract", inputs_of(image, slide, bags), parameters_of(image, ct, slide, bags))
    begin(output)
    bag, preview = _bag_of(image, ct, slide, bags, record_of(output))
    write_bag(output, bag, preview, bags.dtype.of(image.modality))
    mark_done(output, {**key, "kind": kind_of(bag)})


def record_of(bag: Path) -> Path:
    """Return the name, without suffix, of the outline and the picture of the tissue beside a slide's bag."""
    return bag.with_name(f"{bag.stem}.tissue")


def _bag_of(
    image: ImageRecord, ct: CtSettings, slide: SlideSettings, bags: BagsSettings, record: Path
) -> tuple[Bag, Preview | None]:
    if is_bag_file(image.path):
        bag = import_bag(image.path, image.modality, image.mpp, bags.imports)
        return bag, read_preview(image.path) if bag.provenance["reader"] == "sparra" else None
    if image.modality == "slide":
        return extract_slide(image.path, image.mpp, slide, image.mask, _mask_values(image), record)
    if image.mask is None:
        raise UserError("the CT has no mask", image.path, "Name its mask in the column 'mask'")
    return extract_ct(
        image.path,
        image.mask,
        image.label or ct.label,
        ct,
        image.spacing_mm,
        series=image.series,
        resample_mask=image.resample_mask,
    )


def _mask_values(image: ImageRecord) -> tuple[int, ...] | None:
    """Return the values of a slide's mask picture that are tissue."""
    if image.label is None:
        return None
    values = tuple(value for value in image.label if isinstance(value, int))
    if len(values) < len(image.label):
        raise UserError("a slide's mask has values, not names", image.path, "Give numbers in the column 'label'")
    return values
