"""The state of a fit after an epoch: one safetensors file, whole or absent, without pickle."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sparra.errors import UserError
from sparra.files import atomic_path

FORMAT = "sparra-fit-1"
NAME = "state.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Where the states of a fit are kept, and how often.

    Attributes
    ----------
    folder : Path
    key : str
        Tells what is fitted to what; a state of another key is refused. If it is empty, `fit_aggregator` makes one of
        settings and subjects, for which it reads every graph once more.
    seconds : float
        Least time from one state to the next; 0 keeps one after every epoch.
    """

    folder: Path
    key: str = ""
    seconds: float = 0.0

    def of(self, part: str) -> "Checkpoint":
        """Return that of one of several fits."""
        return replace(self, folder=self.folder / part)


def drop_unusable(checkpoint: Checkpoint) -> None:
    """Remove states of another key and those that cannot be read, so that their fits start afresh."""
    for path in checkpoint.folder.rglob(NAME):
        try:
            usable = _read(path)[0]["key"] == checkpoint.key
        except UserError:
            usable = False
        if not usable and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif not usable:
            path.unlink(missing_ok=True)


@dataclass
class FitState:
    """All that decides how a fit goes on.

    Attributes
    ----------
    model : nn.Module
    optimiser : torch.optim.Optimizer
    shuffle : torch.Generator
        Of the batches' order.
    rows : list of dict
        The training curve so far.
    best : mapping of str to Tensor
        Weights of the best epoch, if epochs are chosen on a part kept back.
    best_loss : float
    best_epoch : int
    """

    model: nn.Module
    optimiser: torch.optim.Optimizer
    shuffle: torch.Generator
    rows: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_loss: float = float("inf")
    best_epoch: int = -1

    def save(self, folder: Path, key: str) -> None:
        """Write the state over the last epoch's."""
        names = [name for name, _ in self.model.named_parameters()]
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for index, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{names[index]}.{name}": value for name, value in moments.items()}
        tensors["random.shuffle"] = self.shuffle.get_state()
        tensors["random.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        header = {
            "format": FORMAT,
            "key": key,
            "rows": self.rows,
            "best_loss": None if self.best_epoch < 0 else self.best_loss,
            "best_epoch": self.best_epoch,
        }
        with atomic_path(folder / NAME) as temporary:
            content = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
            save_file(content, temporary, {"sparra": json.dumps(header, allow_nan=False)})

    def restore(self, folder: Path, key: str) -> bool:
        """Take up the state of `folder`; False where there is none.

        Raises
        ------
        UserError
            If the file is damaged or belongs to another fit.
        """
        path = folder / NAME
        if not path.exists():
            return False
        header, tensors = _read(path)
        if header["key"] != key:
            raise UserError("this checkpoint belongs to another fit", path, "Delete it or choose another folder")
        try:
            self.model.load_state_dict(_under("model.", tensors))
        except RuntimeError:  # The aggregator's own code has changed, of which no key knows.
            raise UserError("this checkpoint is of another network", path, "Delete it to start afresh") from None
        moments: dict[int, dict[str, Tensor]] = {}
        for index, (name, _) in enumerate(self.model.named_parameters()):
            found = _under(f"optimiser.{name}.", tensors)
            if found:
                moments[index] = found
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})
        self.shuffle.set_state(tensors["random.shuffle"])
        torch.set_rng_state(tensors["random.cpu"])
        if torch.cuda.is_available() and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])
        self.rows = header["rows"]
        self.best = _under("best.", tensors)
        self.best_epoch = header["best_epoch"]
        self.best_loss = float("inf") if header["best_loss"] is None else header["best_loss"]
        return True


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if not path.is_file():  # A pipe would be waited on for ever.
        raise UserError("this is no file", path, "Delete it to start afresh")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get("sparra", "{}"))
            if isinstance(header, dict) and header.get("format") == FORMAT and "key" in header:
                return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"the checkpoint cannot be read ({reason})", path, "Delete it to start afresh") from None
    raise UserError(f"this is no checkpoint of format {FORMAT}", path, "Delete it to start afresh")


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def fit_key(description: Mapping[str, Any], digests: Mapping[str, bytes]) -> str:
    """Return what tells fits apart: their settings and the bytes they learn from."""
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name, content in digests.items():
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()
