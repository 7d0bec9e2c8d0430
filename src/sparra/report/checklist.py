"""Reporting checklist: TRIPOD+AI, CLEAR and METRICS in short paraphrase, filled from what a run knows."""

from importlib.resources import files
from io import StringIO

import pandas as pd

from sparra.report.results import METRIC_NAMES, MODALITY_NAMES, MODELS, StudyResults, in_order, modality_name
from sparra.report.words import cohort_flow, protocol_sentences

NOT_REPORTED = "not reported"


def checklist(results: StudyResults) -> pd.DataFrame:
    """Return guideline, section, item and report of each item; what the run cannot know is ``not reported``.

    The numbers are the guidelines' own: the 27 main items of TRIPOD+AI and the 30 of METRICS. Of CLEAR's 58 there is
    a selection without numbers. The words are ours; the guidelines themselves are the authority.
    """
    text = (files("sparra.report") / "checklist.csv").read_text(encoding="utf-8")
    table = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
    known = _answers(results)
    report = [known.get(key, "") or NOT_REPORTED for key in table.pop("answered_by")]
    return table.assign(report=report)


def _answers(results: StudyResults) -> dict[str, str]:
    flow = cohort_flow(results)
    metrics = in_order(set(results.metrics["metric"]), METRIC_NAMES)
    used = ", ".join(f"{number} {words}" for words, number in flow.by_modality)
    packages = results.versions.get("packages", {})
    splits = [path for path in results.digests if path.endswith("splits.csv")]
    evaluation = results.settings.get("evaluation") or {}
    models = ", ".join(in_order(set(results.metrics["model"]), MODELS))
    screened = evaluation.get("screening_p") if isinstance(evaluation, dict) else None
    sound = results.settings.get("protocol") == "sound"
    kinds = in_order(set(results.metrics["modality"]), MODALITY_NAMES)
    return {
        "predictors": ", ".join(map(modality_name, kinds)),
        "tuning": f"{models}; tuned in inner folds of the training part" if models and sound else models,
        "imbalance": "Folds stratified by event; no resampling" if models else "",
        "output": "Risk score, higher is worse; cut between low and high risk in settings.json" if models else "",
        "screening": f"Univariate Cox p < {screened} in the training part" if screened else "",
        "modalities": ", ".join(map(modality_name, kinds)) if len(kinds) > 1 else "",
        "classical": ", ".join(name for name in ("CoxPH", "Coxnet") if name in set(results.metrics["model"])),
        "guideline": "This checklist" if models else "",
        "outcome": f"Time to event in {results.flow['time_unit']}" if results.flow.get("time_unit") else "",
        "size": f"{flow.used} subjects, {flow.events} events" if flow.used else "",
        "missing": used,
        "protocol": " ".join(protocol_sentences(results)) if len(results.metrics) else "",
        "metrics": ", ".join(METRIC_NAMES.get(name, name) for name in metrics),
        "versions": ", ".join(f"{name} {version}" for name, version in packages.items()),
        "flow": f"{flow.subjects_in} in, {flow.n_excluded} excluded, {flow.used} used" if flow.subjects_in else "",
        "intervals": "" if results.intervals.empty else "C-index: 95 % bootstrap over patients",
        "calibration": "" if results.survival.empty else "Curve and ICI at the middle horizon, out-of-fold",
        "settings": "settings.json" if results.settings else "",
        "comparators": ", ".join(sorted(set(results.comparators["modality"]) - {"none"})),
        "comparisons": "" if results.comparisons.empty else f"{len(results.comparisons)} paired comparisons",
        "seed": str(results.settings.get("seed", "")),
        "decision": "" if results.decision.empty else "Decision curves, out-of-fold",
        "splits": ", ".join(splits),
    }
