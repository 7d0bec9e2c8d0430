"""The one door through which masks enter a study: quality control, montage, provenance, a row of the review table.

Whether a network, another tool or a radiologist made a mask, it becomes a label map of KiTS on its CT's grid.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from sparra.cohort.problems import Problem, problem_of
from sparra.cohort.tables import ImageRecord
from sparra.errors import UserError
from sparra.files import atomic_path, read_json, sha256_of, write_json
from sparra.radiology.geometry import Grid
from sparra.radiology.io import read_ct
from sparra.radiology.masks.provenance import provenance_path, read_mask_provenance, write_mask_provenance
from sparra.radiology.volume import image_on
from sparra.segmentation.montage import draw_montage
from sparra.segmentation.quality import Quality, judge_labels
from sparra.segmentation.regions import KIDNEY, LABELS, TUMOUR

# Put behind the source of a mask that was changed by hand after it was written.
CORRECTED = ", corrected by hand"
# The note of a mask that is being written.
UNFINISHED: dict[str, Any] = {"source": "unfinished"}
COLUMNS = [
    "subject_id",
    "decision",
    "comment",
    "flags",
    "montage",
    "tumour_ml",
    "tumour_parts",
    "kidney_ml",
    "kidney_parts",
    "cyst_ml",
    "cyst_parts",
    "tumour_confidence",
    "source",
    "model_sha256",
    "image",
    "series",
    "mask",
    "label",
    "original",
    "original_sha256",
    "mask_sha256",
]


@dataclass(frozen=True)
class Delivery:
    """Where the masks of a cohort are written.

    Attributes
    ----------
    folder : Path
        Gets ``masks/``, ``montages/`` and ``review.csv``.
    """

    folder: Path

    @property
    def review(self) -> Path:
        """The table in which each mask is accepted or rejected."""
        return self.folder / "review.csv"

    def mask(self, key: str) -> Path:
        """Label map of one image."""
        return self.folder / "masks" / f"{key}.nii.gz"

    def montage(self, key: str) -> Path:
        """Picture of one image."""
        return self.folder / "montages" / f"{key}.png"

    def work_left(self, record: ImageRecord, provenance: dict[str, Any]) -> Literal["none", "make", "judge"]:
        """Tell what an image's mask lacks: nothing, or everything, or, where somebody corrected it, to be judged anew.

        A corrected mask is never made again; who wants that deletes it.

        Raises
        ------
        UserError
            If it was corrected here and the file that it was made from has changed too, or nothing says who made it.
        """
        mask = self.mask(record.key)
        if not mask.exists() or _is_unfinished(mask):
            return "make"
        noted = read_mask_provenance(mask)
        if "mask_sha256" not in _note_of(mask):
            what = "there is a mask, and no note beside it says that it was made here"
            raise UserError(what, mask, "Move it away, or delete it to have it made anew")
        changed = noted["source"] == "changed"
        noted = noted["was"] if changed else noted
        corrected = changed or noted["source"].endswith(CORRECTED)
        if corrected and noted.get("original_sha256") != provenance.get("original_sha256"):
            what = "the mask was corrected by hand, and the file that it was made from has changed since"
            raise UserError(what, mask, "Delete it to have it made anew, or bring the other file back")
        compared = {"image_sha256"} if corrected else set(provenance)
        agrees = "quality" in noted and all(noted.get(key) == provenance.get(key) for key in compared)
        if agrees and not changed and self.montage(record.key).exists():
            return "none"
        return "judge" if corrected else "make"

    def write(
        self,
        record: ImageRecord,
        ct: sitk.Image,
        labels: NDArray[np.uint8],
        provenance: dict[str, Any],
        confidence: float | None = None,
        with_kidney: bool = True,
    ) -> None:
        """Write mask and montage of one image, then the provenance with its quality.

        Parameters
        ----------
        record : ImageRecord
        ct : SimpleITK.Image
        labels : ndarray of uint8, shape (z, y, x)
            1 kidney, 2 tumour, 3 cyst, on the CT's grid.
        provenance : dict
            JSON-ready; its key "source" says who made the mask.
        confidence : float, optional
            Mean probability in the tumour.
        with_kidney : bool
            Whether the kidney was drawn at all.
        """
        mask = self.mask(record.key)
        # With the old note, or none, a run killed here would leave a mask that looks like somebody's own.
        write_json(provenance_path(mask), UNFINISHED)
        with atomic_path(mask) as temporary:
            sitk.WriteImage(image_on(_header_grid(record, Grid.of(ct)), labels), str(temporary), useCompression=True)
        self._describe(record, ct, labels, provenance, confidence, with_kidney)

    def judge(self, record: ImageRecord, ct: sitk.Image, labels: NDArray[np.uint8], image_sha256: str) -> None:
        """Draw and judge a mask that somebody corrected, and note that; the mask itself stays as it is.

        Parameters
        ----------
        record : ImageRecord
        ct : SimpleITK.Image
        labels : ndarray of uint8, shape (z, y, x)
            What the mask holds.
        image_sha256 : str
            Of the CT.
        """
        noted = read_mask_provenance(self.mask(record.key))
        noted = noted.get("was", noted)
        source = noted["source"].removesuffix(CORRECTED) + CORRECTED
        with_kidney = str(KIDNEY) in noted.get("labels", {str(KIDNEY): []})
        self._describe(record, ct, labels, {**noted, "source": source, "image_sha256": image_sha256}, None, with_kidney)

    def _describe(
        self,
        record: ImageRecord,
        ct: sitk.Image,
        labels: NDArray[np.uint8],
        provenance: dict[str, Any],
        confidence: float | None,
        with_kidney: bool,
    ) -> None:
        quality = judge_labels(labels, Grid.of(ct).voxel_mm3, confidence, with_kidney)
        draw_montage(
            ct, labels, f"{record.subject_id}   {_volumes(quality)}", "; ".join(quality.flags), self.montage(record.key)
        )
        write_mask_provenance(self.mask(record.key), {**provenance, "quality": quality.as_json()})

    def row(self, record: ImageRecord, original: Path | None = None) -> dict[str, str]:
        """Return the review table's row of an image whose mask is written."""
        mask = self.mask(record.key)
        noted = read_mask_provenance(mask)
        quality = noted["quality"]
        row = self._place(record)
        for name in LABELS.values():
            row[f"{name}_ml"] = f"{quality['volume_ml'][name]:.2f}"
            row[f"{name}_parts"] = str(quality["parts"][name])
        confidence = quality["confidence"]
        return row | {
            "flags": "; ".join(quality["flags"]),
            "montage": self._relative(self.montage(record.key)),
            "tumour_confidence": "" if confidence is None else f"{confidence:.3f}",
            "source": noted["source"],
            "model_sha256": noted.get("model_sha256", ""),
            "mask": self._relative(mask),
            "label": str(TUMOUR),
            "original": self._relative(original) if original else "",
            "original_sha256": noted.get("original_sha256", ""),
            "mask_sha256": sha256_of(mask),
        }

    def failed_row(self, record: ImageRecord, reason: str) -> dict[str, str]:
        """Return the row of an image that got no mask."""
        return {**self._place(record), "flags": reason}

    def _place(self, record: ImageRecord) -> dict[str, str]:
        empty = dict.fromkeys(COLUMNS, "")
        image = self._relative(record.path)
        return empty | {"subject_id": record.subject_id, "image": image, "series": record.series_digest}

    def _relative(self, path: Path) -> str:
        return os.path.relpath(path.absolute(), self.folder.absolute())


def _header_grid(record: ImageRecord, grid: Grid) -> Grid:
    """Return the grid that the CT's header states, which a mask must share, where the table replaces its spacing."""
    return grid if record.spacing_mm is None else Grid.of(read_ct(record.path, True, record.series))


def _volumes(quality: Quality) -> str:
    return ", ".join(f"{name} {quality.volume_ml[name]:.1f} ml" for name in ("kidney", "tumour", "cyst"))


def problem_in(record: ImageRecord, error: Exception) -> Problem:
    """Record what went wrong with one image, so that the others go on."""
    if isinstance(error, UserError):
        return problem_of(error, "segment", record.subject_id, str(record.path))
    what = f"unexpected {type(error).__name__}: {error}"
    mend = "This is a bug in sparra or a file like none it has met; please report it with this line"
    return Problem(what, str(record.path), mend, record.subject_id, stage="segment")


def _note_of(mask: Path) -> Mapping[str, Any]:
    """Return the note beside a mask as it is; empty where there is none that can be read."""
    try:
        noted = read_json(provenance_path(mask))
    except (OSError, ValueError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _is_unfinished(mask: Path) -> bool:
    return _note_of(mask) == UNFINISHED
