"""The study's division into training and test parts, by the settings, or as given."""

from collections.abc import Sequence
from pathlib import Path

from sparra.cohort.check import Cohort
from sparra.cohort.draws import TISSUE_SOURCE_SITE, leave_site_out, paper_hold_outs, tissue_source_sites
from sparra.cohort.splits import Folds, match_folds, read_folds, stratified_folds, write_folds
from sparra.cohort.tables import Subject
from sparra.errors import UserError
from sparra.registry import nearest_name
from sparra.study.layout import StudyLayout
from sparra.study.settings import StudySettings
from sparra.study.stages import GraphIndex


def folds_of(settings: StudySettings, subjects: Sequence[Subject]) -> tuple[Folds, list[str]]:
    """Draw the folds of these subjects, or read the given splits; tell which subjects no split names.

    Raises
    ------
    UserError
        If there are too few events for the folds, a column that the settings name is absent, or the given
        splits do not fit the cohort.
    """
    ids = [subject.subject_id for subject in subjects]
    events = [subject.event for subject in subjects]
    evaluation = settings.evaluation
    if evaluation.splits is not None:
        matched = match_folds(read_folds(Path(evaluation.splits)), ids)
        return matched.folds, matched.in_no_split
    if settings.protocol == "paper":
        # A hold-out tests only some; whoever is tested in none is still trained on, so none is left out.
        return paper_hold_outs(ids, events, evaluation.folds), []
    sites = _column(settings, subjects, "leave_site_out")
    if sites is not None:
        return leave_site_out(ids, events, sites), []
    groups, strata = (_column(settings, subjects, name) for name in ("keep_together", "stratify_by"))
    folds = stratified_folds(
        ids, events, evaluation.folds, settings.seed, groups, strata=strata, repeats=evaluation.repeats
    )
    return folds, []


def _column(settings: StudySettings, subjects: Sequence[Subject], setting: str) -> list[str] | None:
    """Return the values of the column that a setting names, one a subject; None where it names none."""
    name = getattr(settings.evaluation, setting)
    if name is None:
        return None
    columns = sorted({column for subject in subjects for column in subject.covariates})
    if name in columns:
        return [subject.covariates[name] for subject in subjects]
    if name == TISSUE_SOURCE_SITE and setting != "stratify_by":
        return tissue_source_sites([subject.subject_id for subject in subjects])
    what = f"evaluation.{setting} names the column '{name}', which is absent"
    raise UserError(what, settings.cohort.subjects, nearest_name(name, columns))


def declare_folds(
    settings: StudySettings, cohort: Cohort, index: GraphIndex, layout: StudyLayout
) -> tuple[Folds, list[str]]:
    """Draw the folds, or read those given, for the subjects that have a graph; save them.

    Returns
    -------
    folds : Folds
    left_out : list of str
        Subjects that no given split names; they take no part in training and evaluation.

    Raises
    ------
    UserError
        If there are too few events for the folds, or the given splits do not fit the cohort.
    """
    subjects = [subject for subject in cohort.subjects if subject.subject_id in index]
    folds, left_out = folds_of(settings, subjects)
    write_folds(layout.folds, folds)
    return folds, left_out
