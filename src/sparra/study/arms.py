"""The trained aggregations whose maps are wanted, and the folders of their models."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open

from sparra.cohort.splits import Folds
from sparra.errors import UserError
from sparra.maps.out_of_fold import FILE
from sparra.modality import MODALITIES, Modality
from sparra.study.layout import StudyLayout
from sparra.study.learn import is_trained, methods_of
from sparra.study.settings import StudySettings
from sparra.study.stages import GraphIndex

ALL = "all"
NAMES = {"sparra": "SPARRA", "abmil": "ABMIL", "mean": "the mean"}
ON = {"ct": "CT", "slide": "slides", "joint": "CT and slides"}


@dataclass(frozen=True)
class Arm:
    """One trained aggregation.

    Attributes
    ----------
    modality : str
        ``ct``, ``slide`` or ``joint``.
    aggregator : str
    folders : tuple of Path
        Of its models in all folds and repeats that are trained and up to date.
    """

    modality: str
    aggregator: str
    folders: tuple[Path, ...]

    @property
    def image_modalities(self) -> tuple[Modality, ...]:
        """Modalities whose nodes it weighs."""
        return tuple(m for m in MODALITIES if self.modality in (m, "joint"))

    @property
    def title(self) -> str:
        """Name of its maps."""
        return f"Importance by {NAMES.get(self.aggregator, self.aggregator)} on {ON[self.modality]}, out-of-fold"


def out_of_fold_subjects(folder: Path) -> set[tuple[str, str]]:
    """Return modality and id of every subject whose importance a model's file holds: those of its test part.

    Of all at once, since opening the file takes time by the number of subjects in it. Without a file there is none.

    Raises
    ------
    UserError
        If the file is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return set()
    try:
        with safe_open(path, framework="numpy") as tensors:
            parts = [name.partition("/") for name in tensors.keys()]  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"the importance cannot be read ({error})", path, "Train this fold again") from None
    return {(modality, subject_id) for modality, _, subject_id in parts if modality in MODALITIES}


def arms_of(
    settings: StudySettings,
    layout: StudyLayout,
    index_path: Path,
    index: GraphIndex,
    folds: Folds,
    all_trained: bool = False,
) -> list[Arm]:
    """Return the trained aggregations that ``maps.aggregators`` asks for, or all."""
    found: dict[tuple[str, str], list[Path]] = {}
    for method in methods_of(settings, index, folds):
        if is_trained(settings, layout, index_path, method):
            folder = layout.model(method.modality, method.aggregator, method.fold)
            found.setdefault((method.modality, method.aggregator), []).append(folder)
    trained = {aggregator for _, aggregator in found}
    wanted = trained if all_trained else _wanted(settings, trained)
    return [Arm(*names, tuple(folders)) for names, folders in found.items() if names[1] in wanted]


def _wanted(settings: StudySettings, trained: set[str]) -> Collection[str]:
    asked = settings.maps.aggregators
    if ALL in asked:
        return sorted(trained)
    if asked:
        return asked
    first = settings.report.map_aggregator
    return [first] if first in trained else sorted(trained - {"mean"})
