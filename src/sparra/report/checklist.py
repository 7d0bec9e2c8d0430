"""Reporting checklists: TRIPOD+AI, CLEAR and METRICS in short paraphrase, filled from what a run knows."""

from collections.abc import Mapping
from importlib.resources import files
from io import StringIO
from typing import Any

import pandas as pd

from sparra.report.results import (
    METRIC_NAMES,
    MODALITY_NAMES,
    MODELS,
    StudyResults,
    aggregator_name,
    arms,
    in_order,
    metric_name,
    modality_name,
)
from sparra.report.words import USED_NAMES, cohort_flow, protocol_sentences
from sparra.survival.published import screening_threshold

NOT_REPORTED = "not reported"
# Of versions.json: no software.
_NO_SOFTWARE = ("note", "machine")
_CLINICAL_BY_NAME = "Age, stage, grade and sex, as far as the table of subjects has them"


def checklist(results: StudyResults) -> pd.DataFrame:
    """Return guideline, section, item and report of each item; what the run cannot know is ``not reported``.

    All items under the guidelines' own numbers: the 52 of TRIPOD+AI with its sub-items (27 main items), the 58 of
    CLEAR, the 30 of METRICS. The words are ours; the guidelines themselves are the authority.

    Notes
    -----
    Collins et al., BMJ 385 (2024) e078378; Kocak et al., Insights Imaging 14:75 (2023); Kocak et al., Insights
    Imaging 15:8 (2024).
    """
    text = (files("sparra.report") / "checklist.csv").read_text(encoding="utf-8")
    table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
    known = _cohort_answers(results) | _method_answers(results) | _result_answers(results)
    report = [known.get(key, "") or NOT_REPORTED for key in table.pop("answered_by")]
    return table.assign(report=report)


def _cohort_answers(results: StudyResults) -> dict[str, str]:
    flow = cohort_flow(results)
    joint = "joint" in set(results.metrics["modality"])
    kinds = [
        (words, n) for words, n in flow.by_modality if n and (joint or words in (USED_NAMES["ct"], USED_NAMES["slide"]))
    ]
    used = ", ".join(f"{number} {words}" for words, number in kinds)
    horizons = [f"{time:.4g}" for time in sorted(set(results.survival["horizon"]))]
    outcome = f"Time to event in {results.flow['time_unit']}" if results.flow.get("time_unit") else ""
    if outcome and horizons:
        outcome += f"; risk by {', '.join(horizons)} {results.time_unit}"
    followed = f"{flow.subjects_in} in, {flow.n_excluded} excluded, {flow.used} used"
    return {
        "outcome": outcome,
        "size": f"{flow.used} subjects, {flow.events} events" if flow.used else "",
        "missing": f"Of {flow.used} subjects {used}; an image that is lacking takes no part" if used else "",
        "flow": f"{followed}, {flow.events} events; median follow-up {flow.follow_up}" if flow.subjects_in else "",
    }


def _method_answers(results: StudyResults) -> dict[str, str]:
    """Return what settings and versions tell; without results they are no report of what was done."""
    if results.metrics.empty:
        return {}
    evaluation = _mapping(results.settings.get("evaluation"))
    paper = results.settings.get("protocol") == "paper"
    models = ", ".join(in_order(set(results.metrics["model"]), MODELS))
    kinds = in_order(set(results.metrics["modality"]), MODALITY_NAMES)
    screened = _screening(results, evaluation)
    # Bags that were given bring no record of how they were made.
    settings = "settings.json" if results.extracted else ""
    ct = _mapping(results.settings.get("ct"))
    hand_crafted = "ct" in results.extracted and "families" in _mapping(ct.get("encoder_options"))
    versions = ", ".join(f"{name} {version}" for name, version in _software(results.versions).items())
    tuned = "by the AUC in five inner folds" if paper else "by the C-index in inner folds of the training part"
    cut = "the mean of the pooled test risks" if paper else f"the {evaluation.get('cut', 'median')} training risk"
    sites = evaluation.get("leave_site_out")
    clinical = evaluation.get("clinical")
    protocol = " ".join(protocol_sentences(results))
    has_clinical = "clinical" in set(results.comparators["modality"])
    return {
        "settings": settings,
        "radiomics": "settings.json, ct" if hand_crafted else "",
        "defaults": f"{settings} names every parameter, defaults included" if settings else "",
        "predictors": f"Images: {', '.join(map(modality_name, kinds))}",
        "choice": screened or "All; none screened",
        "screening": screened,
        "protocol": protocol,
        "scaling": "Features less their mean over their standard deviation, of the training part",
        "tuning": f"{models}; tuned {tuned}",
        "models": f"{models}; {versions}" if versions else models,
        "clusters": f"Each site ({sites}) tested apart" if sites else "",
        "calculation": "By the fold's own model, out-of-fold: evaluation/predictions.csv",
        "imbalance": "Folds stratified by event; no resampling",
        "output": f"Risk score, higher is worse; cut between low and high risk at {cut}",
        "extraction": f"{settings}; {versions}" if settings and versions else settings,
        "software": f"sparra {results.versions.get('sparra', '')}" if hand_crafted else "",
        "selection": "None was selected: all are reported",
        "test": "Internal: test parts of the same cohort" + (", sites apart" if sites else ""),
        "guideline": "This checklist",
        "clinical": (", ".join(clinical) if clinical else _CLINICAL_BY_NAME) if has_clinical else "",
        "modalities": ", ".join(map(modality_name, kinds)) + ("; compared" if len(kinds) > 1 else ""),
        "classical": ", ".join(name for name in ("CoxPH", "Coxnet") if name in set(results.metrics["model"])),
    }


def _result_answers(results: StudyResults) -> dict[str, str]:
    metrics = in_order(set(results.metrics["metric"]), METRIC_NAMES)
    calibrated, decided = not results.survival.empty, not results.decision.empty
    also = [name for name, there in (("calibration", calibrated), ("decision curves", decided)) if there]
    comparators = [modality_name(name) for name in sorted(set(results.comparators["modality"]) - {"none"})]
    utility = ["decision curves"] if comparators and decided else []
    compared = f"{len(results.comparisons)} paired comparisons" if len(results.comparisons) else ""
    test = "paired bootstrap, corrected resampled t-test, Holm" if compared else ""
    return {
        "metrics": ", ".join([*(metric_name(name) for name in metrics), *(also if metrics else [])]),
        "intervals": "" if results.intervals.empty else "C-index: 95 % bootstrap over patients; no subgroups",
        "calibration": "Curve and ICI at the middle horizon, out-of-fold" if calibrated else "",
        "comparators": ", ".join([*comparators, *utility]),
        "comparisons": f"{compared}: {test}" if compared else "",
        "compared": f"{', '.join(comparators)}; {compared}" if comparators and compared else "",
    }


def _screening(results: StudyResults, evaluation: Mapping[str, Any]) -> str:
    """Say how features were screened; empty where none were."""
    protocol = str(results.settings.get("protocol") or "sound")
    aggregators = list(dict.fromkeys(aggregator for _, aggregator in arms(results.metrics)))
    thresholds = {name: screening_threshold(evaluation.get("screening_p"), protocol, name) for name in aggregators}
    used = {threshold for threshold in thresholds.values() if threshold is not None}
    if not used:
        return ""
    kept_all = [aggregator_name(name) for name, threshold in thresholds.items() if threshold is None]
    but = f"; none for {', '.join(kept_all)}" if kept_all else ""
    rate = evaluation.get("screening_adjustment") == "benjamini-hochberg"
    what = "false discovery rate (Benjamini–Hochberg)" if rate else "p"
    return f"Univariate Cox {what} < {min(used):g} in the training part{but}"


def _software(versions: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(version) for name, version in versions.items() if name not in _NO_SOFTWARE}


def _mapping(content: object) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else {}
