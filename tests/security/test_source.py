"""No module of the package runs what a file says, starts a shell, or trusts a server blindly."""

from pathlib import Path

import pytest
from tests.security.rules import findings

import sparra

SOURCE = Path(sparra.__file__).parent
MODULES = sorted(SOURCE.rglob("*.py"))

# Whatever is let through, by file and rule, with the reason. Anything not listed fails, and so does a line here
# that nothing needs any more.
CHANNELS = "talks to processes that this run has started, or to a scheduler that the user named; docs/security.md"
ALLOWED: dict[tuple[str, str], str] = {
    ("doctor/study.py", "channel distributed"): CHANNELS,
    ("engine/child.py", "channel multiprocessing"): CHANNELS,
    ("engine/children.py", "channel multiprocessing"): CHANNELS,
    ("engine/children.py", "channel distributed"): CHANNELS,
    ("engine/dask.py", "channel distributed"): CHANNELS,
    ("engine/start.py", "channel distributed"): CHANNELS,
    ("engine/start.py", "channel dask"): "sets Dask's options",
    ("engine/start.py", "channel dask_jobqueue"): CHANNELS,
    ("simulate/cohort.py", "channel multiprocessing"): CHANNELS,
    ("simulate/cohort.py", "channel ProcessPoolExecutor"): CHANNELS,
    ("web.py", "fetches with urllib"): "the one module that fetches: https, limits, no other host",
}

PLANTED = [
    ("import pickle", "imports pickle"),
    ("def f():\n    import cPickle", "imports cPickle"),
    ("from pickle import UnpicklingError", "imports pickle.UnpicklingError"),
    ("import dill as d", "imports dill"),
    ("from cloudpickle import loads", "imports cloudpickle.loads"),
    ("import marshal", "imports marshal"),
    ("import shelve", "imports shelve"),
    ("from joblib import load", "imports joblib.load"),
    ("import importlib\nimportlib.import_module('pickle')", "imports pickle"),
    ("import torch\ntorch.serialization.pickle.loads(b'')", "reaches pickle"),
    ("import pandas as pd\npd.read_pickle('a')", "reaches read_pickle"),
    ("import numpy as np\nnp.load(p, allow_pickle=True)", "allow_pickle"),
    ("from numpy import load\nload(p, allow_pickle=trusted)", "allow_pickle"),
    ("import numpy as np\nnp.save(p, a, allow_pickle=True)", "allow_pickle"),
    ("import torch\ntorch.load(p)", "torch.load without weights_only=True"),
    ("import torch as t\nt.load(p, weights_only=False)", "torch.load without weights_only=True"),
    ("from torch import load\nload(p, map_location='cpu')", "torch.load without weights_only=True"),
    ("import torch\ntorch.load(p, weights_only=flag)", "torch.load without weights_only=True"),
    ("import torch\ntorch.save(a, p)", "loads objects: torch.save"),
    ("import torch\ntorch.hub.load('a', 'b')", "loads objects: torch.hub.load"),
    ("import yaml\nyaml.load(text)", "unsafe YAML: yaml.load"),
    ("import yaml\nyaml.load(text, yaml.Loader)", "unsafe YAML: yaml.load"),
    ("import yaml\nclass L(yaml.FullLoader): ...\nyaml.load(text, Loader=L)", "unsafe YAML: yaml.load"),
    ("import yaml\nyaml.unsafe_load(text)", "unsafe YAML: yaml.unsafe_load"),
    ("import yaml\nyaml.load_all(text)", "unsafe YAML: yaml.load_all"),
    ("import subprocess\nsubprocess.run(['a'], shell=True)", "shell"),
    ("from subprocess import run\nrun(command, shell=flag)", "shell"),
    ("import subprocess\nsubprocess.run(f'rm {name}')", "a command in one text"),
    ("import os\nos.system('ls')", "shell: os.system"),
    ("from os import popen as p\np('ls')", "shell: os.popen"),
    ("import subprocess\nsubprocess.getoutput('ls')", "shell: subprocess.getoutput"),
    ("eval(text)", "runs code: eval"),
    ("exec(text)", "runs code: exec"),
    ("compile(text, 'f', 'exec')", "runs code: compile"),
    ("table.eval('a + b')", "runs code: eval"),
    ("__import__(name)", "runs code: __import__"),
    ("import tarfile\ntarfile.open(p).extractall(folder)", "extracts an archive"),
    ("import shutil\nshutil.unpack_archive(p)", "extracts an archive"),
    ("from urllib.request import urlopen\nurlopen(a)", "unsafe: urllib.request.urlopen"),
    ("import urllib.request", "fetches with urllib"),
    ("import requests\nrequests.get(a, verify=False)", "trusts any server"),
    ("import requests", "fetches with requests"),
    ("import ssl\nssl._create_unverified_context()", "trusts any server"),
    ("import tempfile\ntempfile.mktemp()", "unsafe: tempfile.mktemp"),
    ("from multiprocessing import Pool", "channel multiprocessing"),
    ("from concurrent.futures import ProcessPoolExecutor", "channel ProcessPoolExecutor"),
]

HARMLESS = [
    "import numpy as np\nnp.load(p)\nnp.load(p, allow_pickle=False)",
    "import torch\ntorch.load(p, weights_only=True)\nnetwork.eval()",
    "import yaml\nclass L(yaml.SafeLoader): ...\nyaml.load(t, L)\nyaml.load(t, yaml.SafeLoader)\nyaml.safe_load(t)",
    "import re\nre.compile('a')\nimport subprocess\nsubprocess.Popen([a, 'b'])\nsubprocess.run(command, shell=False)",
    '"""Not pickle; no eval(x), exec(x) or os.system(x) here."""',
]


def test_no_module_does_what_none_may() -> None:
    assert len(MODULES) > 250
    found = [
        f"{name}:{line}: {rule}"
        for path in MODULES
        for name in (path.relative_to(SOURCE).as_posix(),)
        for line, rule in findings(path.read_text(encoding="utf-8"))
        if (name, rule) not in ALLOWED
    ]
    assert found == []


def test_every_exception_is_still_needed() -> None:
    there = {(path.relative_to(SOURCE).as_posix(), rule) for path in MODULES for _, rule in findings(path.read_text())}
    assert set(ALLOWED) <= there


@pytest.mark.parametrize(("snippet", "rule"), PLANTED, ids=[snippet for snippet, _ in PLANTED])
def test_what_is_planted_is_found(snippet: str, rule: str) -> None:
    assert rule in [found for _, found in findings(snippet)]


@pytest.mark.parametrize("snippet", HARMLESS)
def test_what_is_harmless_is_let_through(snippet: str) -> None:
    assert findings(snippet) == []
