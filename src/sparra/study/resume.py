"""States of trainings that are kept on the way, so that a run that is cut off goes on from them."""

import hashlib
import json
import shutil
from pathlib import Path

from sparra.study.sidecar import Key
from sparra.training.checkpoint import Checkpoint, drop_unusable

# What a network that is cut off may lose. A state takes some milliseconds to write; trainings that are shorter
# write none.
SECONDS_BETWEEN_STATES = 30.0


def states_in(folder: Path, key: Key) -> Checkpoint:
    """Return where the fits of one training keep their states; those of another key, or damaged, are removed.

    Parameters
    ----------
    folder : Path
        For the states alone.
    key : dict
        Of `make_key`. Where inputs lie and when they were touched makes no other training, only what they hold.
    """
    contents = {name: known["sha256"] for name, known in key["inputs"].items()}
    text = json.dumps([contents, key["parameters"], key["versions"]], sort_keys=True)
    checkpoint = Checkpoint(folder, hashlib.sha256(text.encode()).hexdigest(), SECONDS_BETWEEN_STATES)
    drop_unusable(checkpoint)
    return checkpoint


def forget(states: Checkpoint) -> None:
    """Remove the states of a training that is finished, with what a kill left half-written."""
    shutil.rmtree(states.folder, ignore_errors=True)
