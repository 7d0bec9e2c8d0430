"""Importance of every node, averaged over the trained models that never saw the subject."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from sparra.errors import UserError
from sparra.maps.scores import NodeScores, combine_models
from sparra.modality import Modality

FILE = "importance.safetensors"


def importance_key(modality: str, subject_id: str) -> str:
    """Return the name of a subject's node importance in a model's file."""
    return f"{modality}/{subject_id}"


def spread_key(modality: str, subject_id: str) -> str:
    """Return the name of its standard deviation; files of older versions lack it."""
    return f"sd/{modality}/{subject_id}"


def read_importance(
    folder: Path, modality: str, subject_id: str
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None] | None:
    """Return one model's node importance of a subject and its standard deviation.

    Parameters
    ----------
    folder : Path
        Of the trained model.
    modality : {"ct", "slide"}
    subject_id : str

    Returns
    -------
    tuple of ndarray of float64, shape (n_nodes,)
        The second is None where the model has no posterior. None altogether where the subject was not in the
        model's test part, or lacks the modality.

    Raises
    ------
    UserError
        If the file is absent or damaged.
    """
    path = folder / FILE
    key, key_sd = importance_key(modality, subject_id), spread_key(modality, subject_id)
    try:
        with safe_open(path, framework="numpy") as tensors:
            names = set(tensors.keys())
            if key not in names:
                return None
            spread = _float64(tensors.get_tensor(key_sd)) if key_sd in names else None
            return _float64(tensors.get_tensor(key)), spread
    except (FileNotFoundError, SafetensorError) as error:
        raise UserError(f"the importance cannot be read ({error})", path, "Train this fold again") from None


def out_of_fold_scores(folders: Sequence[Path], modality: Modality, subject_id: str) -> NodeScores | None:
    """Average over those models in whose test part the subject was; None where there is none.

    Parameters
    ----------
    folders : sequence of Path
        Folders of the models of all folds and repeats of one trained aggregation; those without a file of
        importance are passed over.
    modality : {"ct", "slide"}
        Whose nodes.
    subject_id : str

    Raises
    ------
    UserError
        If a file is damaged, or the models saw different graphs.
    """
    read = [read_importance(folder, modality, subject_id) for folder in folders if (folder / FILE).exists()]
    found = [pair for pair in read if pair is not None]
    if not found:
        return None
    return combine_models([score for score, _ in found], [sd for _, sd in found])


def _float64(values: Any) -> NDArray[np.float64]:
    converted: NDArray[np.float64] = np.asarray(values).astype(np.float64)
    return converted
