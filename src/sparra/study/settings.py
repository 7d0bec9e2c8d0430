"""``study.yaml``: everything that a study depends on, in one validated object."""

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, field_validator, model_validator

from sparra.bags.settings import ImportSettings
from sparra.cohort.settings import CohortSettings
from sparra.engine.settings import EngineSettings
from sparra.errors import UserError
from sparra.graphs.settings import GraphSettings, default_graph_settings
from sparra.maps.settings import MapsSettings
from sparra.modality import Modality
from sparra.models.registry import aggregators
from sparra.models.settings import AggregatorSettings
from sparra.pathology.encoders import slide_encoders
from sparra.pathology.settings import SlideSettings
from sparra.radiology.encoders import ct_encoders
from sparra.radiology.perturbation import PerturbationSettings
from sparra.radiology.settings import CtSettings
from sparra.report.settings import ReportSettings
from sparra.settings import Settings
from sparra.survival.settings import EvaluationSettings
from sparra.training.settings import TrainingSettings

MethodModality = Literal["ct", "slide", "joint"]


FloatType = Literal["float32", "float16"]

# The paper's protocol fixes these: hold-outs stratified by event alone, tuning in five folds, the cut, the times.
SOUND_ONLY = (
    "repeats", "stratify_by", "keep_together", "leave_site_out", "inner_folds", "cut", "horizon",
    "screening_adjustment",
)  # fmt: skip


class PrecisionSettings(Settings):
    """Precision of features on disk, by modality.

    float16 halves the files. It suits a network's features; hand-crafted ones may be too large (beyond 65504,
    which is refused) or too small for it.
    """

    ct: FloatType = "float32"
    slide: FloatType = "float32"

    def of(self, modality: Modality) -> FloatType:
        """Return the precision of a modality."""
        return self.ct if modality == "ct" else self.slide


class BagsSettings(Settings):
    """How bags are stored, and what is said of those that other tools wrote.

    Attributes
    ----------
    dtype : PrecisionSettings
        Precision of the patch features on disk.
    imports : ImportSettings
        Facts that feature files of other tools do not hold.
    """

    dtype: PrecisionSettings = PrecisionSettings()
    imports: ImportSettings = ImportSettings()


class GraphsSettings(Settings):
    """Graph parameters of each modality, and what is written of every graph.

    Attributes
    ----------
    ct, slide : GraphSettings
    dtype : PrecisionSettings
        Precision of the node features on disk.
    pictures : bool
        Whether to draw every graph over its image.
    summaries : bool
        Whether to write ``graphs/summary.csv``, one row a subject and modality.
    """

    ct: GraphSettings = default_graph_settings("ct")
    slide: GraphSettings = default_graph_settings("slide")
    dtype: PrecisionSettings = PrecisionSettings()
    pictures: bool = False
    summaries: bool = False


class MethodsSettings(Settings):
    """Which aggregators are trained on which modalities.

    Attributes
    ----------
    aggregators : tuple of str
        Registered names.
    modalities : tuple of {"ct", "slide", "joint"}
    options : mapping of aggregator name to mapping
        Settings of an aggregator, e.g. ``{"sparra": {"preset": "paper"}}``.
    cross_fit_folds : int
        Inner folds that give training patients embeddings by networks that never saw them; fewer are used
        where there are fewer events.
    """

    aggregators: tuple[str, ...] = Field(default=("mean", "abmil", "sparra"), min_length=1)
    modalities: tuple[MethodModality, ...] = Field(default=("ct", "slide", "joint"), min_length=1)
    options: dict[str, dict[str, Any]] = Field(default_factory=dict)
    cross_fit_folds: int = Field(default=3, ge=2)

    @field_validator("aggregators", "modalities")
    @classmethod
    def _named_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("a name occurs twice")
        return names


class StudySettings(EngineSettings):
    """A whole study; see README for a commented example.

    Attributes
    ----------
    name : str
    cohort : CohortSettings
    output : Path
        Folder that the study writes to.
    protocol : {"sound", "paper"}
        How networks and survival models are fitted, tuned and judged: by good practice, or as the paper's
        released code does. See docs/evaluation.md.
    seed : int
        Seeds every random draw.
    engine, workers, memory_gib, time_limit_minutes, attempts, dashboard, slurm, tls
        Where the study runs, see `EngineSettings`.
    ct, slide, bags, graphs, methods, training, evaluation, maps, report, robustness : Settings
        Settings of the stages.
    """

    name: str = "study"
    cohort: CohortSettings
    output: Path
    protocol: Literal["sound", "paper"] = "sound"
    seed: int = Field(default=0, ge=0)
    ct: CtSettings = CtSettings()
    slide: SlideSettings = SlideSettings()
    bags: BagsSettings = BagsSettings()
    graphs: GraphsSettings = GraphsSettings()
    methods: MethodsSettings = MethodsSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    maps: MapsSettings = MapsSettings()
    report: ReportSettings = ReportSettings()
    robustness: PerturbationSettings = PerturbationSettings()

    @model_validator(mode="after")
    def _names_are_registered(self) -> Self:
        try:
            for name in (*self.methods.aggregators, *self.methods.options):
                aggregators[name]
            ct_encoders[self.ct.encoder]
            slide_encoders[self.slide.encoder].require(self.slide)
        except UserError as error:
            raise ValueError(str(error)) from None
        return self

    @model_validator(mode="after")
    def _protocol_fits(self) -> Self:
        evaluation = self.evaluation
        given = [name for name in SOUND_ONLY if name in evaluation.model_fields_set]
        if self.protocol == "paper" and given:
            raise ValueError(f"evaluation.{given[0]} has no meaning in the protocol 'paper'; leave it out")
        return self

    def aggregator_settings(self, name: str) -> AggregatorSettings:
        """Return the validated settings of one aggregator.

        Raises
        ------
        UserError
            If ``methods.options`` holds an unknown key for it.
        """
        options = self.methods.options.get(name, {})
        return aggregators[name].settings.from_mapping(options, f"methods.options.{name}")


#: Nodes of a study file with its aliases written out; a real one has some hundreds.
MOST_NODES = 100_000


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """Count the nodes below one as if aliases were copies; one that holds itself counts as too many."""
    if id(node) not in known:
        known[id(node)] = MOST_NODES + 1
        parts: list[yaml.Node] = []
        if isinstance(node, yaml.SequenceNode):
            parts = node.value
        elif isinstance(node, yaml.MappingNode):
            parts = [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_written_out(part, known) for part in parts)
    return known[id(node)]


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a mapping that names a key twice, of which YAML would keep the last without a word.

    It also refuses aliases that stand for more than a study can hold: to look at every value would take for ever.
    """

    def get_single_node(self) -> yaml.Node | None:
        node = super().get_single_node()
        if node is not None and _written_out(node, {}) > MOST_NODES:
            raise yaml.YAMLError("its aliases stand for too much, or for themselves")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                break  # The loader refuses it, below.
            if key in seen:
                raise yaml.YAMLError(f"key '{key}' occurs twice, line {node.start_mark.line + 1} and after")
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_study(path: Path, instead: Mapping[str, Any] | None = None) -> StudySettings:
    """Read ``study.yaml``; paths in it are relative to its folder.

    Parameters
    ----------
    path : Path
    instead : mapping, optional
        Keys that stand in place of the file's.

    Raises
    ------
    UserError
        If the file is absent, is no YAML mapping, or any key or value in it is not valid.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except FileNotFoundError:
        raise UserError("the study file does not exist", path, "Give the path of a study.yaml") from None
    except (yaml.YAMLError, ValueError, RecursionError, OSError) as error:
        text = " ".join(str(error).split())
        raise UserError(f"the study file is not valid YAML: {text}", path) from None
    if not isinstance(content, dict):
        raise UserError("the study file holds no keys", path, "See the README for an example")
    content = _with_absolute_weights({**content, **(instead or {})}, path.parent.absolute())
    settings = StudySettings.from_mapping(_with_absolute_paths(content, path.parent.absolute()), str(path))
    for name in settings.methods.aggregators:
        settings.aggregator_settings(name)
    return settings


PATH_KEYS = (
    ("cohort", ("subjects", "images", "review")),
    ("evaluation", ("splits",)),
    ("slide", ("tissue_folder",)),
    ("tls", ("ca_file", "cert_file", "key_file")),
)


def _with_absolute_paths(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    resolved = dict(content)
    resolved.setdefault("output", "output")
    if isinstance(resolved["output"], str):
        resolved["output"] = str(folder / resolved["output"])
    for section, keys in PATH_KEYS:
        values = resolved.get(section)
        if isinstance(values, dict):
            paths = {k: str(folder / values[k]) for k in keys if isinstance(values.get(k), str)}
            resolved[section] = {**values, **paths}
    imports = resolved["bags"].get("imports") if isinstance(resolved.get("bags"), dict) else None
    if isinstance(imports, dict) and isinstance(imports.get("patches"), str):
        given = {**imports, "patches": str(folder / imports["patches"])}
        resolved["bags"] = {**resolved["bags"], "imports": given}
    return resolved


def _with_absolute_weights(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    resolved = dict(content)
    for section in ("ct", "slide"):
        values = resolved.get(section)
        if isinstance(values, dict) and isinstance(values.get("encoder_options"), dict):
            options = {k: _weights_path(k, v, folder) for k, v in values["encoder_options"].items()}
            resolved[section] = {**values, "encoder_options": options}
    return resolved


def _weights_path(option: str, value: Any, folder: Path) -> Any:
    """Resolve an option that names a file of weights; others, and the Hub, stay as they are."""
    names_file = option == "weights" or str(option).endswith("_weights")
    if not names_file or not isinstance(value, str) or value == "hub" or value.startswith("hub:"):
        return value
    return str(folder / Path(value).expanduser())
