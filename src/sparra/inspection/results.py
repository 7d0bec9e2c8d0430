"""Looking at what sparra itself reads and writes: tables, graphs, models and other safetensors."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from sparra.cohort.tables import read_images, read_subjects
from sparra.errors import UserError
from sparra.graphs.store import read_graph
from sparra.inspection.report import Report

TENSORS_SHOWN = 12


def inspect_tensors(path: Path) -> Report:
    """Look at a safetensors file: a graph, or tensors of another kind."""
    try:
        with safe_open(path, framework="numpy") as file:
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        reason = " ".join(str(error).split())
        return Report(path, "unknown", "safetensors", False, [f"the file is truncated or damaged ({reason})."])
    if "sparra" in metadata:
        return _inspect_graph(path)
    shown = {name: shapes[name] for name in sorted(shapes)[:TENSORS_SHOWN]}
    facts = {"tensors": len(shapes), "shapes": shown}
    if path.name == "weights.safetensors" and (path.parent / "model.json").is_file():
        return inspect_model(path.parent)
    reason = "it holds tensors, which no command takes by themselves."
    return Report(path, "tensors", "safetensors", False, [reason], facts)


def _inspect_graph(path: Path) -> Report:
    try:
        graph = read_graph(path)
    except UserError as error:
        return Report(path, "graph", "sparra graph", False, [str(error)])
    encoder = graph.provenance.get("encoder")
    facts: dict[str, Any] = {
        "modality": graph.modality,
        "nodes": len(graph),
        "features": graph.features.shape[1],
        "edges": graph.edge_index.shape[1] // 2,
        "patches": len(graph.node_of_patch),
        "images": len(graph.images),
        "positions": "absent" if graph.positions is None else ("mm" if graph.modality == "ct" else "µm"),
        "encoder": encoder.get("name") if isinstance(encoder, dict) else encoder,
    }
    return Report(path, "graph", "sparra graph", True, [], facts)


def inspect_model(folder: Path) -> Report:
    """Look at the folder of a trained aggregator."""
    from sparra.training.fitted import FittedAggregator

    try:
        model = FittedAggregator.load(folder)
    except (UserError, KeyError, OSError, SafetensorError, RuntimeError) as error:
        return Report(folder, "model", "sparra aggregator", False, [" ".join(str(error).split())])
    facts = {"aggregator": model.name, "features": model.feature_dims, "seed": model.seed, "models": len(model.members)}
    return Report(folder, "model", "sparra aggregator", True, [], facts)


def is_table(path: Path) -> bool:
    """Tell a table of a cohort by its column ``subject_id``."""
    with path.open("rb") as handle:
        header = handle.readline(1 << 16).decode("utf-8-sig", "replace")
    return "subject_id" in [name.strip().strip('"') for name in header.split(",")]


def inspect_table(path: Path) -> Report:
    """Look at a table of subjects or images by itself; `sparra check` looks at both together."""
    with path.open("rb") as handle:
        columns = handle.readline(1 << 16).decode("utf-8-sig", "replace")
    of_images = "modality" in columns
    try:
        if of_images:
            images, problems = read_images(path)
            facts: dict[str, Any] = {"images": len(images), "subjects": len({image.subject_id for image in images})}
        else:
            subjects, problems, listed = read_subjects(path, follow_up=False)
            facts = {"subjects": len(listed), "without_a_problem": len(subjects)}
    except UserError as error:
        return Report(path, "table", "of a cohort", False, [str(error)])
    title = "of images" if of_images else "of subjects"
    return Report(path, "table", title, not problems, [str(problem) for problem in problems], facts)
