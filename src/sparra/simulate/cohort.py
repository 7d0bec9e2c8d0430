"""A synthetic cohort on disk: CTs, slides, follow-up and the truth behind them."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from sparra.errors import UserError
from sparra.files import atomic_path, write_json, write_text
from sparra.simulate.ct import TUMOUR, SimulatedCt, simulate_ct
from sparra.simulate.followup import Subject, draw_subject, subject_generators
from sparra.simulate.settings import SimulationSettings
from sparra.simulate.slide import TRUTH_DOWNSAMPLE, simulate_slide, write_slide

IMAGE_COLUMNS = ["subject_id", "modality", "path", "mask", "label", "mpp"]
SUBJECT_COLUMNS = ["subject_id", "time", "event", "age", "sex", "site"]
TRUTH_COLUMNS = ["subject_id", "z_ct", "z_slide", "log_hazard"]


def simulate_cohort(
    folder: Path,
    settings: SimulationSettings,
    workers: int = 1,
    progress: Callable[[Iterable[str]], Iterable[str]] | None = None,
) -> None:
    """Write a synthetic cohort; files of the same names are replaced.

    Below `folder`: ``ct/<subject>.nii.gz`` (HU) with ``ct/<subject>_mask.nii.gz`` (1 kidney, 2 tumour,
    3 cyst), ``slides/<subject>.tiff``, ``subjects.csv`` (time in days), ``images.csv`` (paths relative to
    it), and the truth: ``truth/truth.csv`` (biomarkers and log hazard), ``truth/<subject>_ct.nii.gz`` and
    ``truth/<subject>_slide.png`` (planted regions), ``truth/truth.json`` (settings, and how many times
    smaller the PNG is than the slide's level 0). The tables come last.

    Parameters
    ----------
    folder : Path
        Where to write; made if absent.
    settings : SimulationSettings
        What to write.
    workers : int
        Number of processes; the result is the same for any number.
    progress : callable, optional
        Wraps the subjects as they are finished, `settings.subjects` in all, e.g. ``rich.progress.track``.

    Raises
    ------
    UserError
        If `folder` is a file, or `workers` is below 1.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError("this is a file", where=folder, mend="Name a folder for the cohort")
    if workers < 1:
        raise UserError(f"the number of workers is {workers}", mend="Give 1 or more")
    finished = _paint_all(folder, settings, workers)
    for _ in progress(finished) if progress else finished:
        pass
    subjects = [draw_subject(index, settings) for index in range(settings.subjects)]
    _write_tables(folder, subjects, settings)


def simulate_subject_images(folder: Path, settings: SimulationSettings, index: int) -> str:
    """Write the images and planted regions of subject `index` (from 0) and return its id.

    A function of the module, so that a pool of processes can call it.
    """
    subject = draw_subject(index, settings)
    generators = subject_generators(settings.seed, index)
    if subject.has_ct:
        ct = simulate_ct(subject.z_ct, settings, generators.ct)
        _write_volume(folder / _ct_path(subject), ct, ct.hu)
        _write_volume(folder / _mask_path(subject), ct, ct.labels)
        _write_volume(folder / "truth" / f"{subject.subject_id}_ct.nii.gz", ct, ct.region.astype(np.uint8))
    if subject.has_slide:
        slide = simulate_slide(subject.z_slide, settings, generators.slide)
        with atomic_path(folder / _slide_path(subject)) as temporary:
            write_slide(temporary, slide)
        with atomic_path(folder / "truth" / f"{subject.subject_id}_slide.png") as temporary:
            Image.fromarray(slide.region.astype(np.uint8) * 255).save(temporary)
    return subject.subject_id


def _paint_all(folder: Path, settings: SimulationSettings, workers: int) -> Iterator[str]:
    paint = partial(simulate_subject_images, folder, settings)
    if workers == 1:
        yield from map(paint, range(settings.subjects))
        return
    # Spawned, since forking a process that has started threads (torch, numba) can hang.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(paint, range(settings.subjects))


def _write_volume(path: Path, ct: SimulatedCt, voxels: NDArray[np.int16] | NDArray[np.uint8]) -> None:
    with atomic_path(path) as temporary:
        sitk.WriteImage(ct.image(voxels), str(temporary), useCompression=True)


def _ct_path(subject: Subject) -> str:
    return f"ct/{subject.subject_id}.nii.gz"


def _mask_path(subject: Subject) -> str:
    return f"ct/{subject.subject_id}_mask.nii.gz"


def _slide_path(subject: Subject) -> str:
    return f"slides/{subject.subject_id}.tiff"


def _write_tables(folder: Path, subjects: list[Subject], settings: SimulationSettings) -> None:
    table = pd.DataFrame([asdict(subject) for subject in subjects])
    truth = {"slide_downsample": TRUTH_DOWNSAMPLE, "settings": settings.model_dump(mode="json")}
    write_json(folder / "truth" / "truth.json", truth)
    _write_csv(folder / "truth" / "truth.csv", table[TRUTH_COLUMNS])
    images = [row for subject in subjects for row in _image_rows(subject)]
    _write_csv(folder / "images.csv", pd.DataFrame(images, columns=IMAGE_COLUMNS))
    _write_csv(folder / "subjects.csv", table[SUBJECT_COLUMNS])


def _image_rows(subject: Subject) -> Iterator[tuple[str, ...]]:
    # The slide's mpp stays empty: it is in the file, and the table's would only override it.
    if subject.has_ct:
        yield subject.subject_id, "ct", _ct_path(subject), _mask_path(subject), str(TUMOUR), ""
    if subject.has_slide:
        yield subject.subject_id, "slide", _slide_path(subject), "", "", ""


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, lineterminator="\n"))
