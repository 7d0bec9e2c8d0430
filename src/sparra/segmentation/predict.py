"""Masks for a cohort: predicted by a trained network, or taken over from whoever made them."""

# SimpleITK's methods carry no types.
# mypy: disable-error-code="no-untyped-call"

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from sparra.cohort.problems import Problem
from sparra.cohort.review import earlier_rows, write_review
from sparra.cohort.tables import ImageRecord, read_images
from sparra.errors import UserError
from sparra.files import sha256_of
from sparra.radiology.errors import EmptyMaskError, LabelAbsentError
from sparra.radiology.geometry import Grid
from sparra.radiology.io import Reading, read_ct, read_pair
from sparra.radiology.masks.labels import Labels
from sparra.segmentation.cleanup import labels_on_scan
from sparra.segmentation.delivery import COLUMNS, Delivery, problem_in
from sparra.segmentation.network import Model
from sparra.segmentation.preprocess import prepare, to_scan
from sparra.segmentation.regions import KIDNEY, LABELS, REGIONS, TUMOUR
from sparra.segmentation.window import Track, predict_regions

_SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".dcm")


def predict_cohort(images: Path, model: Model, folder: Path, track: Track) -> list[Problem]:
    """Segment every CT of an images table.

    Masks that are there already, made by the same network from the same CT, stay, and so does every mask that
    somebody corrected; decisions in an earlier review table stay with masks that have not changed.

    Parameters
    ----------
    images : Path
        ``images.csv``; the column mask is not looked at.
    model : Model
    folder : Path
        Gets ``masks/``, ``montages/`` and ``review.csv``.
    track : callable
        Draws progress over the windows of each CT.

    Returns
    -------
    list of Problem
        What failed; those images have a row without a mask.

    Raises
    ------
    UserError
        If the table cannot be read or lists no CT.
    """
    made_by = {
        "source": "SPARRA SegResNet",
        "model_sha256": model.card.weights_sha256,
        "inference": model.card.inference.model_dump(mode="json"),
    }
    delivery = Delivery(folder)

    def segment(record: ImageRecord, turn: str) -> None:
        provenance = {**made_by, "image_sha256": sha256_of(record.path)}
        left = delivery.work_left(record, provenance)
        if left == "make":
            ct = _ct_of(record)
            labels, confidence = segment_ct(ct, model, track, f"{record.subject_id} ({turn})")
            delivery.write(record, ct, labels, provenance, confidence)
        elif left == "judge":
            _judge_corrected(record, delivery)

    return _for_each_ct(images, delivery, segment, lambda record: None)


def segment_ct(
    ct: sitk.Image, model: Model, track: Track | None = None, label: str = ""
) -> tuple[NDArray[np.uint8], float | None]:
    """Segment one CT.

    Returns
    -------
    labels : ndarray of uint8, shape (z, y, x)
        1 kidney, 2 tumour, 3 cyst, on the CT's grid.
    confidence : float or None
        Mean probability in the tumour; None if there is none.
    """
    prepared = prepare(ct, model.card.spacing_mm)
    probability = predict_regions(model, prepared.hu, track, label)
    scan = Grid.of(ct)
    labels = labels_on_scan(probability, prepared.grid, scan, model.card.inference)
    tumour = labels == TUMOUR
    if not tumour.any():
        return labels, None
    of_tumour = to_scan(probability[list(REGIONS).index("tumour")], prepared.grid, scan)
    return labels, float(of_tumour[tumour].mean())


def take_over_masks(
    images: Path, masks: Path | None, labels: Mapping[int, Labels], source: str, folder: Path, track: Track
) -> list[Problem]:
    """Bring masks made elsewhere through the same door: quality control, montage, review table.

    Parameters
    ----------
    images : Path
        ``images.csv``.
    masks : Path or None
        Folder of label maps, DICOM-SEG or RTSTRUCT files named by the image's file or the subject's id; None
        takes the column mask.
    labels : mapping of int to labels
        For each label of KiTS (1 kidney, 2 tumour, 3 cyst), what the masks call it.
    source : str
        Who made them, as it will stand in the provenance.
    folder : Path
        Gets ``masks/``, ``montages/`` and ``review.csv``.
    track : callable

    Returns
    -------
    list of Problem

    Raises
    ------
    UserError
        If the table cannot be read or lists no CT, or the masks' folder does not exist.
    """
    if masks is not None and not masks.is_dir():
        raise UserError("no such folder", masks, "Name the folder that holds the masks")
    delivery = Delivery(folder)

    def find(record: ImageRecord) -> Path | None:
        return record.mask if masks is None else mask_by_name(masks, record)

    def take_over(record: ImageRecord, turn: str) -> None:
        original = find(record)
        if original is None:
            names = " or ".join(_names_of(record))
            where = masks or record.path
            raise UserError(f"no mask named {names}" if masks else "the row names no mask", where, "Add the mask")
        provenance = {
            "source": source,
            "labels": {str(value): list(_as_list(wanted)) for value, wanted in labels.items()},
            "original_sha256": sha256_of(original),
            "image_sha256": sha256_of(record.path),
        }
        left = delivery.work_left(record, provenance)
        if left == "make":
            ct, voxels = _merged(record, original, labels)
            delivery.write(record, ct, voxels, provenance, with_kidney=KIDNEY in labels)
        elif left == "judge":
            _judge_corrected(record, delivery)

    return _for_each_ct(images, delivery, take_over, find, track)


def _judge_corrected(record: ImageRecord, delivery: Delivery) -> None:
    """Draw and judge a mask that somebody corrected where it lay."""
    mask = delivery.mask(record.key)
    try:
        ct, labels = _merged(record, mask, {value: value for value in LABELS})
    except UserError as error:
        mend = "Correct it, or delete it to have it made anew"
        raise UserError(f"the mask was changed by hand, and {error.what}", mask, mend) from None
    delivery.judge(record, ct, labels, sha256_of(record.path))


def mask_by_name(folder: Path, record: ImageRecord) -> Path | None:
    """Find a mask named by the image's file (nnU-Net drops its ``_0000``) or by the subject's id."""
    for name in _names_of(record):
        for suffix in _SUFFIXES:
            if (path := folder / f"{name}{suffix}").exists():
                return path
    return None


def _names_of(record: ImageRecord) -> list[str]:
    stem = record.path.name
    for suffix in _SUFFIXES:
        if stem.lower().endswith(suffix):
            stem = stem[: -len(suffix)]
            break
    return list(dict.fromkeys([stem, stem.removesuffix("_0000"), record.subject_id]))


def _as_list(labels: Labels) -> Sequence[int | str]:
    return [labels] if isinstance(labels, int | str) else labels


def _merged(record: ImageRecord, original: Path, labels: Mapping[int, Labels]) -> tuple[sitk.Image, NDArray[np.uint8]]:
    """Return a CT and the label map of KiTS made of a mask's labels; where labels overlap, the mass wins."""
    reading = Reading(record.spacing_mm, record.series, record.resample_mask)
    merged: NDArray[np.uint8] | None = None
    ct: sitk.Image | None = None
    for value in sorted(labels, key=lambda one: (one == TUMOUR, one)):
        try:
            ct, part = read_pair(record.path, original, labels[value], reading)
        except (LabelAbsentError, EmptyMaskError):
            if value == TUMOUR:
                raise
            continue
        voxels = sitk.GetArrayFromImage(part)
        merged = np.zeros_like(voxels) if merged is None else merged
        merged[voxels > 0] = value
    if ct is None or merged is None:
        raise UserError("the mask holds no tumour", original)
    return ct, merged


def _ct_of(record: ImageRecord) -> sitk.Image:
    ct = read_ct(record.path, record.spacing_mm is not None, record.series)
    if record.spacing_mm is not None:
        ct.SetSpacing(record.spacing_mm)
    return ct


def _for_each_ct(
    images: Path,
    delivery: Delivery,
    work: Callable[[ImageRecord, str], None],
    original: Callable[[ImageRecord], Path | None],
    track: Track | None = None,
) -> list[Problem]:
    """Do the work for every CT, whatever fails, and write the review table."""
    listed, problems = read_images(images)
    records = [record for record in listed if record.modality == "ct"]
    if not records:
        raise UserError("the table lists no CT", images, "Give rows with modality 'ct'")
    earlier_rows(delivery.review)  # What cannot be read is told now, not after hours of work.
    rows = []
    for turn, record in enumerate(track(records, "review", len(records)) if track else records, start=1):
        try:
            if not record.path.exists():
                raise UserError("the file does not exist", record.path, "Correct the path or remove the row")
            work(record, f"{turn}/{len(records)}")
            rows.append(delivery.row(record, original(record)))
        except Exception as error:  # Everything is recorded under its subject: rule 4.
            problems.append(problem_in(record, error))
            rows.append(delivery.failed_row(record, problems[-1].what))
    write_review(delivery.review, rows, COLUMNS)
    return problems
