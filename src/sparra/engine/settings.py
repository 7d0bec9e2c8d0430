"""Where a study runs, on how many workers, and within which limits."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from sparra.engine.machine import default_workers
from sparra.settings import Settings

DEFAULT_TIME_LIMIT_MINUTES = 24 * 60.0
_ADDRESS = re.compile(r"^(tcp|tls)://.+:\d+$")


class SlurmSettings(Settings):
    """What is asked of Slurm for each job.

    Attributes
    ----------
    partition, account : str or None
    jobs : int
        Jobs that are kept in the queue at a time.
    cores : int
        Processors a job; it works on so many items at a time.
    memory_gib : float
        Memory a job.
    walltime : str
        ``hours:minutes:seconds``. Work of a job that ends early is taken up by the others.
    directives : tuple of str
        Further lines after ``#SBATCH``, such as ``--gres=gpu:1``.
    prologue : tuple of str
        Shell lines before the worker starts, such as ``module load``.
    interface : str or None
        Network interface that nodes reach each other by, such as ``ib0``; None takes the one of the host's name.
    tls : bool
        Whether scheduler and workers talk under TLS, with keys made for the run and kept in the study's folder.
    """

    partition: str | None = None
    account: str | None = None
    jobs: int = Field(default=1, ge=1)
    cores: int = Field(default=1, ge=1)
    memory_gib: float = Field(default=8.0, gt=0)
    walltime: str = "24:00:00"
    directives: tuple[str, ...] = ()
    prologue: tuple[str, ...] = ()
    interface: str | None = None
    tls: bool = True

    @field_validator("walltime")
    @classmethod
    def _is_a_time(cls, value: str) -> str:
        if not re.fullmatch(r"(\d+-)?\d+:\d\d:\d\d", value):
            raise ValueError("give hours:minutes:seconds, such as '24:00:00', in quotes")
        return value


class TlsSettings(Settings):
    """Files that prove to a scheduler at ``tls://`` who asks, and to us who answers.

    Attributes
    ----------
    ca_file, cert_file, key_file : Path
        PEM files: the site's certificate authority, and this user's certificate and key.
    """

    ca_file: Path
    cert_file: Path
    key_file: Path


class EngineSettings(Settings):
    """Where a study runs; the tables that come out do not depend on it.

    Attributes
    ----------
    engine : str
        ``local``: processes on this machine; ``serial``: this process alone; ``slurm``: jobs of Slurm;
        ``tcp://host:port`` or ``tls://host:port``: a Dask scheduler that is already there.
    workers : int or None
        Items that a local engine works on at a time; None takes what processors, memory and GPUs allow.
        1 works in this process, unless `time_limit_minutes` or `memory_gib` is given.
    memory_gib : float or None
        Memory that one item may take; one that takes more is ended and tried again by itself with smaller batches.
        None lets the items share what there is.
    time_limit_minutes : float or None
        Time that one subject's item may take; one that takes longer is ended and recorded. None gives a day, and
        no limit where the work is done in this process.
    attempts : int
        How often an item is tried whose worker died; the last time it runs by itself.
    dashboard : bool or int
        Whether Dask's dashboard is served on this machine's loopback, or the port to serve it on.
    slurm : SlurmSettings
    tls : TlsSettings or None
    """

    engine: str = "local"
    workers: int | None = Field(default=None, ge=1)
    memory_gib: float | None = Field(default=None, gt=0)
    time_limit_minutes: float | None = Field(default=None, gt=0)
    attempts: int = Field(default=4, ge=1)
    dashboard: bool | int = False
    slurm: SlurmSettings = SlurmSettings()
    tls: TlsSettings | None = None

    @field_validator("engine")
    @classmethod
    def _is_an_engine(cls, value: str) -> str:
        if value not in ("local", "serial", "slurm") and not _ADDRESS.match(value):
            raise ValueError("give local, serial, slurm, or a scheduler's address such as 'tcp://127.0.0.1:8786'")
        return value

    @model_validator(mode="after")
    def _limits_can_be_kept(self) -> "EngineSettings":
        if self.engine == "serial" and (self.time_limit_minutes or self.memory_gib):
            raise ValueError("engine 'serial' works in this process, which cannot be ended; take 'local'")
        if self.engine.startswith("tls://") and self.tls is None:
            raise ValueError("a scheduler at tls:// needs 'tls' with ca_file, cert_file and key_file")
        return self

    @property
    def n_workers(self) -> int:
        """Number of items that a local engine works on at a time."""
        return self.workers or default_workers()

    @property
    def kind(self) -> Literal["local", "serial", "slurm", "scheduler"]:
        """How items are run."""
        if self.engine == "local":
            alone = self.n_workers == 1 and self.time_limit_minutes is None and self.memory_gib is None
            return "serial" if alone and not self.dashboard else "local"
        if self.engine in ("serial", "slurm"):
            return self.engine  # type: ignore[return-value]
        return "scheduler"
