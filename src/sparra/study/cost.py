"""What a study of many patients takes, stage by stage: processor time, disk and memory; see docs/scale.md.

Everything is counted for one method (one aggregator on one choice of modalities); training and evaluation are to be
multiplied by the number of methods.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sparra.graphs.memory import WORKER_BYTES, pair_bytes, patch_bytes
from sparra.memory import DEFAULT_HELD_BYTES

GB = 1e9
HOUR = 3600.0
# What a node stores beside its features: position, spread, image, and three edges to each side of 16 bytes.
NODE_BYTES = 8 * 5 + 6 * 16
# A patch's position in the bag.
TILE_BYTES, CT_PATCH_BYTES = 2 * 8, 3 * 8
# The node of a patch, in the graph.
TOKEN_BYTES = 8
# Of a batch's inputs: what a step of SPARRA takes beside them; from `memory_ratio` of docs/speed.md.
STEP_SHARE = 0.65
# Pairs of a token within the search radius at published lengths; see docs/graphs.md.
PAIRS_PER_TOKEN = 89
# Voxels of 512 x 512 in float32 with a mask and two copies while they are resampled.
SLICE_BYTES = 512 * 512 * 12
# Numbers of the embedding of a modality; a row of it is kept for every patient.
EMBEDDING = 256


@dataclass(frozen=True)
class StudySize:
    """A study; one slide and one CT a patient.

    Attributes
    ----------
    subjects : int
    tiles, slide_features : int
    slices, ct_patches, ct_features : int
    tokens_per_node : float
        Patches that a node joins; 3 to 6 with the default settings.
    bytes_per_value : int
        Of features on disk: 4, or 2 for float16.
    folds, inner_folds, epochs, ensemble, batch_size : int
        As in the settings of evaluation, methods and training.
    held_bytes : int
        Prepared graphs that a fit may hold.
    """

    subjects: int = 10_000
    tiles: int = 20_000
    slide_features: int = 1024
    slices: int = 500
    ct_patches: int = 2_000
    ct_features: int = 768
    tokens_per_node: float = 4.0
    bytes_per_value: int = 4
    folds: int = 5
    inner_folds: int = 3
    epochs: int = 20
    ensemble: int = 3
    batch_size: int = 32
    held_bytes: int = DEFAULT_HELD_BYTES

    @property
    def tokens(self) -> int:
        """Patches of a patient."""
        return self.tiles + self.ct_patches

    @property
    def nodes(self) -> float:
        """Nodes of a patient."""
        return self.tokens / self.tokens_per_node

    @property
    def token_values(self) -> int:
        """Features of all patches of a patient."""
        return self.tiles * self.slide_features + self.ct_patches * self.ct_features

    @property
    def graph_values(self) -> float:
        """Features of all nodes of a patient."""
        return self.token_values / self.tokens_per_node

    @property
    def patient_epochs(self) -> int:
        """Forward and backward passes through a patient's graphs: outer models and inner ones, all folds."""
        passes = self.ensemble + self.inner_folds - 1
        return (self.folds - 1) * self.subjects * self.epochs * passes

    @property
    def predictions(self) -> int:
        """Forward passes: scales of the risks, cross-fitted embeddings, the test parts; draws are left out."""
        inner = self.inner_folds - 1 + self.inner_folds
        return (self.folds - 1) * self.subjects * (2 * self.ensemble + inner) + self.subjects * self.ensemble


@dataclass(frozen=True)
class Rates:
    """Processor seconds of one core; the defaults are those of docs/scale.md.

    Attributes
    ----------
    item : float
        Of any item beside its work: reading and writing files, hashes, sidecar.
    tile, ct_slice, ct_patch : float
        To read and encode one.
    graph : float
        A graph's 10,000 tokens.
    step, prediction, reading : float
        10,000 nodes through a model and back, through it once, and read and standardised.
    evaluation : float
        All survival models of one method in one fold, at 1,000 training patients.
    evaluation_exponent : float
        Growth of that with the patients.
    """

    item: float = 0.016
    tile: float = 0.010
    ct_slice: float = 0.02
    ct_patch: float = 0.86e-3
    graph: float = 0.36
    step: float = 0.20
    prediction: float = 0.12
    reading: float = 0.036
    evaluation: float = 60.0
    evaluation_exponent: float = 1.5


@dataclass(frozen=True)
class StageCost:
    """What a stage takes.

    Attributes
    ----------
    core_hours : float
    written_gb, read_gb : float
        On disk, in 10⁹ bytes; read is what passes through, over all epochs.
    worker_gb : float
        Highest memory of one worker.
    """

    core_hours: float
    written_gb: float
    read_gb: float
    worker_gb: float


def stage_costs(size: StudySize, rates: Rates | None = None) -> Mapping[str, StageCost]:
    """Return what each stage takes, in the order of the stages."""
    rates = rates or Rates()
    return {
        "extract slides": _extract_slides(size, rates),
        "extract CT": _extract_cts(size, rates),
        "graph": _graph(size, rates),
        "train": _train(size, rates),
        "evaluate": _evaluate(size, rates),
    }


def _extract_slides(size: StudySize, rates: Rates) -> StageCost:
    seconds = size.subjects * (rates.item + size.tiles * rates.tile)
    bag = size.tiles * (size.slide_features * size.bytes_per_value + TILE_BYTES)
    worker = WORKER_BYTES + 2 * size.tiles * size.slide_features * 4
    return StageCost(seconds / HOUR, size.subjects * bag / GB, 0.0, worker / GB)


def _extract_cts(size: StudySize, rates: Rates) -> StageCost:
    seconds = size.subjects * (rates.item + size.slices * rates.ct_slice + size.ct_patches * rates.ct_patch)
    bag = size.ct_patches * (size.ct_features * size.bytes_per_value + CT_PATCH_BYTES)
    worker = WORKER_BYTES + size.slices * SLICE_BYTES
    return StageCost(seconds / HOUR, size.subjects * bag / GB, 0.0, worker / GB)


def _graph(size: StudySize, rates: Rates) -> StageCost:
    seconds = size.subjects * (2 * rates.item + size.tokens / 1e4 * rates.graph)
    graph = size.graph_values * size.bytes_per_value + size.nodes * NODE_BYTES + size.tokens * TOKEN_BYTES
    worker = WORKER_BYTES + patch_bytes(size.tiles, size.slide_features) + pair_bytes(PAIRS_PER_TOKEN * size.tiles)
    worker += size.tiles * size.slide_features * (size.bytes_per_value + 4)
    read = size.subjects * size.token_values * size.bytes_per_value
    return StageCost(seconds / HOUR, size.subjects * graph / GB, read / GB, worker / GB)


def _train(size: StudySize, rates: Rates) -> StageCost:
    ten_thousands = size.nodes / 1e4
    work = size.patient_epochs * rates.step + size.predictions * rates.prediction
    prepared = size.graph_values * 4 + size.nodes * 6 * 16
    trained = (size.folds - 1) / size.folds * size.subjects
    read_share = max(0.0, 1.0 - size.held_bytes / (trained * prepared))
    reads = size.patient_epochs * read_share
    batch = size.batch_size * prepared
    worker = WORKER_BYTES + min(size.held_bytes, trained * prepared) + (1 + STEP_SHARE) * batch
    embeddings = size.subjects * 2 * EMBEDDING * 4
    # Importance and its spread, 4 bytes each, of every node: held for one fold's test part, written for all.
    importance = size.subjects * size.nodes * 8
    worker += importance / size.folds + 2 * embeddings
    return StageCost(
        ten_thousands * (work + reads * rates.reading) / HOUR,
        (size.folds * embeddings + importance) / GB,
        reads * size.graph_values * size.bytes_per_value / GB,
        worker / GB,
    )


def _evaluate(size: StudySize, rates: Rates) -> StageCost:
    training = (size.folds - 1) / size.folds * size.subjects
    seconds = size.folds * rates.evaluation * (training / 1000) ** rates.evaluation_exponent
    tested = size.subjects / size.folds
    # Pair matrices of the bootstrap, curves of the test part at all training times, resamples' weights.
    worker = WORKER_BYTES + 8 * (4 * tested**2 + 3 * tested * training + 1001 * size.subjects)
    return StageCost(seconds / HOUR, 0.0, 0.0, worker / GB)
