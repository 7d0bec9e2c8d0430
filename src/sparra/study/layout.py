"""Where a study keeps its files; the one place that knows the names."""

from dataclasses import dataclass
from pathlib import Path

from sparra.modality import Modality


@dataclass(frozen=True)
class StudyLayout:
    """Paths below a study's output folder.

    Attributes
    ----------
    root : Path
        The output folder.
    """

    root: Path

    @property
    def subjects(self) -> Path:
        """CSV of the subjects used: subject_id, time, event, covariates."""
        return self.root / "cohort" / "subjects.csv"

    @property
    def flow(self) -> Path:
        """JSON of the subject flow: in, excluded with reasons, used per modality."""
        return self.root / "cohort" / "flow.json"

    @property
    def folds(self) -> Path:
        """CSV of the splits: repeat, fold, subject_id, part (train, valid or test)."""
        return self.root / "evaluation" / "splits.csv"

    @property
    def failures(self) -> Path:
        """CSV of everything that failed: subject_id, stage, where, what, mend."""
        return self.root / "failures.csv"

    @property
    def settings(self) -> Path:
        """JSON of all settings as they were resolved."""
        return self.root / "settings.json"

    @property
    def versions(self) -> Path:
        """JSON of package versions and platform."""
        return self.root / "versions.json"

    @property
    def metrics(self) -> Path:
        """CSV: modality, aggregator, model, metric, repeat, fold, value, reason (why a value is missing)."""
        return self.evaluation_table("metrics")

    @property
    def predictions(self) -> Path:
        """CSV of out-of-fold predictions, see docs/architecture.md."""
        return self.evaluation_table("predictions")

    @property
    def intervals(self) -> Path:
        """CSV: modality, aggregator, model, c_index, lower, upper (95 %, bootstrap over patients), reason."""
        return self.root / "evaluation" / "c_index_intervals.csv"

    @property
    def comparisons(self) -> Path:
        """CSV of paired comparisons between methods, with a sentence for each; see docs/architecture.md."""
        return self.root / "evaluation" / "comparisons.csv"

    @property
    def calibration(self) -> Path:
        """CSV of the calibration at each horizon; see docs/architecture.md."""
        return self.root / "evaluation" / "calibration.csv"

    @property
    def decision(self) -> Path:
        """CSV of net benefit by threshold; see docs/architecture.md."""
        return self.root / "evaluation" / "decision.csv"

    @property
    def added_value(self) -> Path:
        """CSV of what imaging adds to the clinical covariates; see docs/architecture.md."""
        return self.root / "evaluation" / "added_value.csv"

    def evaluation_table(self, name: str) -> Path:
        """CSV of all methods and folds; `name` is ``metrics``, ``predictions``, ``survival`` or ``auc``."""
        return self.root / "evaluation" / f"{name}.csv"

    def comparator_table(self, name: str) -> Path:
        """The same of the comparators."""
        return self.root / "evaluation" / "comparators" / f"{name}.csv"

    @property
    def gathered(self) -> tuple[Path, ...]:
        """Tables of all folds together, and what the report makes of them: all written anew, in seconds, by a run."""
        names = ("metrics", "predictions", "survival", "auc", self.intervals.stem)
        of_methods = (self.comparisons, self.calibration, self.decision, self.added_value)
        of_report = (self.report.with_name(name) for name in ("table1.csv", "table1.tex", "checklist.csv"))
        tables = (path(name) for name in names for path in (self.evaluation_table, self.comparator_table))
        return (*tables, *of_methods, self.report, *of_report)

    @property
    def report(self) -> Path:
        """The HTML page."""
        return self.root / "report" / "index.html"

    @property
    def graph_summary(self) -> Path:
        """CSV of graph summaries, one row a subject and modality; see `sparra.graphs.summary`."""
        return self.root / "graphs" / "summary.csv"

    @property
    def robustness(self) -> Path:
        """CSV of each CT feature's intraclass correlation under perturbation; see docs/radiomics.md."""
        return self.root / "robustness" / "icc.csv"

    def measurements(self, image_key: str) -> Path:
        """CSV of one CT's features, a row a perturbation; the first is unperturbed."""
        return self.root / "robustness" / "measurements" / f"{image_key}.csv"

    def bag(self, modality: Modality, image_key: str) -> Path:
        """HDF5 bag of one image."""
        return self.root / "features" / modality / f"{image_key}.h5"

    def graph(self, modality: Modality, subject_key: str) -> Path:
        """Safetensors graph of one subject and modality."""
        return self.root / "graphs" / modality / f"{subject_key}.safetensors"

    def model(self, modality: str, aggregator: str, fold: int) -> Path:
        """Folder of one trained aggregator; `modality` is ``ct``, ``slide`` or ``joint``."""
        return self.root / "models" / modality / aggregator / f"fold-{fold}"

    def map_files(self, modality: str, aggregator: str, image_key: str) -> Path:
        """Folder of the maps of one image by one trained aggregation; see docs/maps.md for its files."""
        return self.root / "maps" / modality / aggregator / image_key

    @property
    def map_index(self) -> Path:
        """CSV of all maps, a row an image and trained aggregation; see docs/maps.md."""
        return self.root / "maps" / "index.csv"

    @property
    def map_trust(self) -> Path:
        """CSV of what the checks of each trained aggregation's maps came to; see docs/maps.md."""
        return self.root / "maps" / "trust.csv"

    @property
    def map_verdicts(self) -> Path:
        """CSV: trained_modality, aggregator, modality, verdict (trusted, failed or untested), sentence."""
        return self.root / "maps" / "verdicts.csv"

    @property
    def map_undrawn(self) -> Path:
        """CSV: modality, lacking, images, subjects: of how many no map can be drawn, and why."""
        return self.root / "maps" / "undrawn.csv"

    def evaluation(self, modality: str, aggregator: str, fold: int) -> Path:
        """Folder of one fold's survival models, metrics and predictions."""
        return self.root / "evaluation" / "folds" / f"{modality}-{aggregator}-{fold}"
