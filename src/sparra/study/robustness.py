"""How robust each CT feature is: measured again under perturbations, with its intraclass correlation."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk

from sparra.bags.readers import is_bag_file
from sparra.cohort.problems import Problem
from sparra.cohort.tables import ImageRecord
from sparra.errors import UserError
from sparra.files import atomic_path
from sparra.radiology.extract import extract_ct
from sparra.radiology.io import Reading, read_pair
from sparra.radiology.perturbation import PerturbationSettings, draw_perturbations, perturb
from sparra.radiology.radiomics.agreement import intraclass_correlation
from sparra.radiology.settings import CtSettings
from sparra.study.layout import StudyLayout
from sparra.study.lock import study_lock
from sparra.study.pool import Item, Track, open_session, run_items
from sparra.study.run import check_study
from sparra.study.settings import StudySettings
from sparra.study.sidecar import begin, is_current, make_key, mark_done


def measure_robustness(
    settings: StudySettings, track: Track, say: Callable[[str], None] = print
) -> tuple[StudyLayout, list[Problem]]:
    """Measure every CT of a study under the perturbations of ``robustness`` and write ``robustness/icc.csv``.

    No outcome is looked at. What is up to date is not measured again. Work runs where the settings' engine says.

    Returns
    -------
    layout : StudyLayout
    problems : list of Problem

    Raises
    ------
    UserError
        If no CT could be measured, or another run is at work in the study's folder.
    """
    layout = StudyLayout(settings.output)
    with study_lock(layout.root), open_session(settings, layout.root, say):
        return layout, _measure(settings, layout, track)


def _measure(settings: StudySettings, layout: StudyLayout, track: Track) -> list[Problem]:
    cohort = check_study(settings, track, follow_up=False)
    images = [image for image in cohort.images if image.modality == "ct" and not is_bag_file(image.path)]
    if not images:
        raise UserError(
            "the study has no CT to perturb", settings.cohort.images, "Bags of features cannot be perturbed"
        )
    items = [
        Item(
            image.subject_id, str(image.path), (image, settings.ct, settings.robustness, layout.measurements(image.key))
        )
        for image in images
    ]
    pending = [item for item in items if not _is_current(*item.arguments)]
    failed = run_items(
        "robustness", measure_image, pending, settings.n_workers, track, lambda item: _is_current(*item.arguments)
    )
    problems = [*cohort.problems, *failed]
    measured = [item.arguments[-1] for item in items if _is_current(*item.arguments)]
    _write_icc(layout, measured)
    return problems


def measure_image(image: ImageRecord, ct: CtSettings, settings: PerturbationSettings, output: Path) -> None:
    """Write one CT's features under every perturbation: a row each, patches averaged.

    Raises
    ------
    UserError
        If the image cannot be read or encoded.
    """
    key = make_key("robustness", _inputs(image), _parameters(image, ct, settings))
    begin(output)
    label = image.label or ct.label
    reading = Reading(image.spacing_mm, image.series, image.resample_mask or ct.resample_mask)
    if image.mask is None:
        raise UserError("the CT has no mask", image.path, "Name its mask in the column 'mask'")
    scan, mask = read_pair(image.path, image.mask, label, reading)
    rows = []
    for number, perturbation in enumerate(draw_perturbations(settings)):
        rng = np.random.default_rng([*image.key.encode(), settings.seed, number])
        moved = perturb(scan, mask, perturbation, ct.spacing_mm, settings.context_mm, rng)
        rows.append(_features(moved, ct))
    with atomic_path(output) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
    mark_done(output, key)


def _features(images: tuple[sitk.Image, sitk.Image], ct: CtSettings) -> dict[str, float]:
    """Encode a CT and mask that lie in memory."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("ct.nii", "mask.nii")]
        for image, file in zip(images, files, strict=True):
            sitk.WriteImage(image, str(file))
        bag, _ = extract_ct(files[0], files[1], 1, ct)
    names = bag.feature_names or tuple(f"feature_{k}" for k in range(bag.features.shape[1]))
    return dict(zip(names, bag.features.astype(np.float64).mean(axis=0).tolist(), strict=True))


def _inputs(image: ImageRecord) -> dict[str, Path]:
    return {"image": image.path, **({"mask": image.mask} if image.mask else {})}


def _parameters(image: ImageRecord, ct: CtSettings, settings: PerturbationSettings) -> dict[str, Any]:
    label = list(image.label) if image.label else None
    spacing = list(image.spacing_mm) if image.spacing_mm else None
    return {
        "ct": ct.model_dump(mode="json"),
        "robustness": settings.model_dump(mode="json"),
        "label": label,
        "spacing_mm": spacing,
        "series": image.series_digest,
        "resample_mask": image.resample_mask,
    }


def _is_current(image: ImageRecord, ct: CtSettings, settings: PerturbationSettings, output: Path) -> bool:
    return is_current(output, "robustness", _inputs(image), _parameters(image, ct, settings))


def _write_icc(layout: StudyLayout, measured: Sequence[Path]) -> None:
    if not measured:
        layout.robustness.unlink(missing_ok=True)
        raise UserError("no CT could be measured", layout.root, "See what is said of each")
    tables = [pd.read_csv(path) for path in measured]
    rows = []
    for name in tables[0].columns:
        values = np.stack([table[name].to_numpy() for table in tables])
        rows.append({"feature": name, "tumours": len(values), **asdict(intraclass_correlation(values))})
    with atomic_path(layout.robustness) as temporary:
        pd.DataFrame(rows).to_csv(temporary, index=False)
