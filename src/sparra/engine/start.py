"""Opening an engine, and closing it again."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sparra.engine.children import end_children
from sparra.engine.loop import Engine, SerialEngine
from sparra.engine.machine import GIB
from sparra.engine.settings import EngineSettings, TlsSettings
from sparra.errors import UserError

LOOPBACK = "127.0.0.1"
DASHBOARD_PORT = 8787
SECONDS_TO_CONNECT = 20
# What must be alike here and on the workers, or their numbers may differ, and what they made be taken for out of date.
SAME = (
    *("sparra", "numpy", "scipy", "torch", "numba", "scikit-image", "scikit-learn", "scikit-survival"),
    *("simpleitk", "openslide-python", "openslide-bin", "pillow", "tifffile", "matplotlib", "highdicom"),
    *("h5py", "zarr"),
)


@contextmanager
def open_engine(settings: EngineSettings, folder: Path, say: Callable[[str], None] = print) -> Iterator[Engine]:
    """Open the engine that the settings ask for.

    Parameters
    ----------
    settings : EngineSettings
    folder : Path
        The study's folder; workers elsewhere must see it under the same name.
    say : callable
        Prints a line, such as the dashboard's address.

    Raises
    ------
    UserError
        If a scheduler does not answer, its workers have other versions or do not see `folder`, or what Slurm needs
        is not installed.
    """
    if settings.kind == "serial":
        yield SerialEngine()
        return
    opened = {"local": _local, "scheduler": _scheduler, "slurm": _slurm}[settings.kind]
    with opened(settings, folder, say) as engine:
        yield engine


@contextmanager
def _local(settings: EngineSettings, folder: Path, say: Callable[[str], None]) -> Iterator[Engine]:
    """Work on this machine: Dask's scheduler and worker are threads here and listen on no port."""
    from distributed import Client, LocalCluster

    from sparra.engine.dask import DaskEngine

    address = f"{LOOPBACK}:{_dashboard_port(settings)}" if settings.dashboard else None
    number = settings.n_workers
    with (
        _quiet(),
        LocalCluster(
            n_workers=1,
            threads_per_worker=number,
            processes=False,
            memory_limit=0,  # Its own process holds next to nothing; the children are watched by their own limits.
            dashboard_address=address,
            worker_dashboard_address=None,
            silence_logs=40,
        ) as cluster,
        Client(cluster) as client,
    ):
        if settings.dashboard:
            say(f"dashboard: {client.dashboard_link}")
        words = f"{number} worker{'s' if number > 1 else ''} on this machine"
        engine = DaskEngine(client, settings.attempts, words, None, say)
        try:
            yield engine
        finally:
            end_children(engine.run_name)


def _dashboard_port(settings: EngineSettings) -> int:
    return DASHBOARD_PORT if settings.dashboard is True else int(settings.dashboard)


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Dask would say of its own housekeeping and of large arguments."""
    import warnings

    import dask

    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1GB"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="distributed")
        yield


@contextmanager
def _scheduler(settings: EngineSettings, folder: Path, say: Callable[[str], None]) -> Iterator[Engine]:
    from distributed import Client

    from sparra.engine.dask import SECONDS_WITHOUT_WORKERS, DaskEngine

    address = settings.engine
    mend = "Start one with 'dask scheduler' and give its address"
    try:
        with _quiet():
            client = Client(address, timeout=SECONDS_TO_CONNECT, security=_security(settings.tls))
    except (OSError, TimeoutError) as error:
        raise UserError(f"no scheduler answers ({type(error).__name__})", address, mend) from None
    with _quiet(), client:
        if not client.nthreads():
            raise UserError("the scheduler has no workers", address, "Start some with 'dask worker ADDRESS'")
        require_same_workers(client, folder, address)
        say(f"scheduler: {address}, {len(client.nthreads())} workers, dashboard {client.dashboard_link}")
        engine = DaskEngine(client, settings.attempts, f"scheduler {address}", SECONDS_WITHOUT_WORKERS, say)
        try:
            yield engine
        finally:
            client.run(end_children, engine.run_name, on_error="ignore")


def _security(tls: TlsSettings | None) -> Any:
    from distributed import Security

    if tls is None:
        return None
    return Security(
        tls_ca_file=str(tls.ca_file),
        tls_client_cert=str(tls.cert_file),
        tls_client_key=str(tls.key_file),
        require_encryption=True,
    )


def what_worker_is(folder: str) -> dict[str, Any]:
    """Return the versions of this process and whether it sees the study's folder."""
    found = {name: version(name) for name in SAME}
    return {**found, "python": ".".join(map(str, sys.version_info[:2])), "sees": Path(folder).is_dir()}


def require_same_workers(client: Any, folder: Path, where: str) -> None:
    """Check that the workers are like this process.

    Raises
    ------
    UserError
        Names the worker and what differs.
    """
    own = what_worker_is(str(folder))
    try:
        found = client.run(what_worker_is, str(folder))
    except Exception as error:
        what = f"the workers cannot run sparra ({type(error).__name__}: {error})"
        raise UserError(what, where, "Install the same sparra on all of them") from None
    for worker, values in found.items():
        if not values.pop("sees"):
            what = f"the worker {worker} does not see the study's folder {folder}"
            raise UserError(what, where, "Put the study on a file system that all machines mount at the same place")
        for name, value in values.items():
            if value != own[name]:
                what = f"the worker {worker} has {name} {value}, this process {own[name]}"
                raise UserError(what, where, "Install the same versions on all machines")


@contextmanager
def _slurm(settings: EngineSettings, folder: Path, say: Callable[[str], None]) -> Iterator[Engine]:
    from distributed import Client

    from sparra.engine.dask import DaskEngine

    with _quiet(), slurm_cluster(settings, folder) as cluster, Client(cluster) as client:
        jobs = settings.slurm.jobs
        cluster.scale(jobs=jobs)
        say(f"Slurm: {jobs} jobs, scheduler {cluster.scheduler_address}, dashboard {client.dashboard_link}")
        yield DaskEngine(client, settings.attempts, f"{jobs} jobs of Slurm", None, say)


def slurm_cluster(settings: EngineSettings, folder: Path) -> Any:
    """Return the cluster of Slurm jobs; its ``job_script()`` is what each job runs.

    Raises
    ------
    UserError
        If dask-jobqueue is not installed.
    """
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        what = "engine 'slurm' needs dask-jobqueue, which is not installed"
        raise UserError(what, mend="Install sparra with its extra: pip install 'sparra[cluster]'") from None
    slurm = settings.slurm
    logs = folder / "slurm"
    logs.mkdir(parents=True, exist_ok=True)
    address = f":{_dashboard_port(settings)}" if settings.dashboard else None
    return SLURMCluster(
        queue=slurm.partition,
        account=slurm.account,
        cores=slurm.cores,
        processes=1,
        memory=f"{int(slurm.memory_gib * GIB)}B",
        walltime=slurm.walltime,
        job_extra_directives=list(slurm.directives),
        job_script_prologue=list(slurm.prologue),
        python=sys.executable,
        log_directory=str(logs),
        local_directory=str(logs),
        interface=slurm.interface,
        protocol="tls://" if slurm.tls else "tcp://",
        security=slurm.tls or None,
        shared_temp_directory=str(logs) if slurm.tls else None,
        scheduler_options={"dashboard_address": address},
        silence_logs=40,
    )
