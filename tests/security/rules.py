"""What no module of the package may do, found in its syntax tree; see docs/security.md."""

import ast
from collections.abc import Callable, Iterator

#: Modules that build objects from bytes by running what these say.
OBJECT_MODULES = {
    "pickle", "_pickle", "cPickle", "pickle5", "pickletools", "dill", "cloudpickle", "marshal", "shelve", "jsonpickle",
    "copyreg", "joblib", "sklearn.externals.joblib",
}  # fmt: skip
#: Modules whose channels do the same with what they receive.
CHANNEL_MODULES = {"multiprocessing", "distributed", "dask", "dask_jobqueue", "concurrent.futures.process", "xmlrpc"}
SHELL_CALLS = {
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "asyncio.create_subprocess_shell",
    "pty.spawn", "commands.getoutput",
}  # fmt: skip
CODE_CALLS = {"eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec", "builtins.compile",
              "code.interact", "runpy.run_path", "runpy.run_module", "timeit.timeit"}  # fmt: skip
LOADING_CALLS = {
    "torch.save", "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter", "pandas.read_pickle",
    "pandas.read_hdf", "pandas.eval", "numpy.fromregex", "skimage.io.imread",
}  # fmt: skip
EXTRACTING = {"extractall", "extract", "unpack_archive"}
FETCHING_CALLS = {"urllib.request.urlopen", "urllib.request.urlretrieve", "urllib.request.build_opener",
                  "ssl._create_unverified_context", "tempfile.mktemp"}  # fmt: skip
FETCHING_MODULES = {"requests", "httpx", "aiohttp", "urllib3", "ftplib", "telnetlib", "smtplib"}
UNSAFE_YAML = {"unsafe_load", "unsafe_load_all", "full_load", "full_load_all", "load_all"}
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader"}

Finding = tuple[int, str]


def findings(source: str) -> list[Finding]:
    """Return line and rule of whatever a module must not do."""
    tree = ast.parse(source)
    names = _origins(tree)
    checks: tuple[Callable[[ast.AST, dict[str, str]], Iterator[str]], ...] = (
        _imports, _attributes, _calls, _keywords, _yaml, _processes,
    )  # fmt: skip
    found = []
    for node in ast.walk(tree):
        for check in checks:
            found += [(getattr(node, "lineno", 0), rule) for rule in check(node, names)]
    return sorted(set(found))


def _origins(tree: ast.AST) -> dict[str, str]:
    """Map the names that imports bind to where they come from, and classes to the safe loader they are made of."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {a.asname or a.name.partition(".")[0]: a.name if a.asname else a.name.partition(".")[0]
                      for a in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom):
            names |= {a.asname or a.name: f"{node.module or ''}.{a.name}" for a in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(_dotted(base, names) in SAFE_LOADERS for base in node.bases):
            names[node.name] = "yaml.SafeLoader"
    return names


def _dotted(node: ast.AST, names: dict[str, str]) -> str:
    """Return the full name of an expression such as ``np.load``; empty where it has none."""
    if isinstance(node, ast.Name):
        return names.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value, names)
        return f"{before}.{node.attr}" if before else ""
    return ""


def _under(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _imports(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    modules: list[str] = []
    if isinstance(node, ast.Import):
        modules = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        modules = [f"{node.module or ''}.{alias.name}" for alias in node.names]
    elif isinstance(node, ast.Call) and _dotted(node.func, names) in ("importlib.import_module", "__import__"):
        modules = [arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    for module in modules:
        if _under(module, OBJECT_MODULES):
            yield f"imports {module}"
        channels = {name for name in CHANNEL_MODULES if _under(module, {name})}
        if channels or module.endswith("ProcessPoolExecutor"):
            yield f"channel {min(channels, default='ProcessPoolExecutor')}"
        if _under(module, FETCHING_MODULES):
            yield f"fetches with {module}"
        if _under(module, {"urllib.request", "http.client"}):
            yield "fetches with urllib"


def _attributes(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if isinstance(node, ast.Attribute):
        if node.attr in ("pickle", "read_pickle", "to_pickle", "cloudpickle"):
            yield f"reaches {node.attr}"
        if node.attr in ("CERT_NONE", "_create_unverified_context"):
            yield "trusts any server"


def _calls(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if not isinstance(node, ast.Call):
        return
    called = _dotted(node.func, names)
    for calls, rule in (
        (SHELL_CALLS, "shell"), (CODE_CALLS, "runs code"), (LOADING_CALLS, "loads objects"), (FETCHING_CALLS, "unsafe"),
    ):  # fmt: skip
        if called in calls:
            yield f"{rule}: {called}"
    if isinstance(node.func, ast.Attribute) and node.func.attr in EXTRACTING:
        yield "extracts an archive"
    if isinstance(node.func, ast.Attribute) and node.func.attr == "eval" and (node.args or node.keywords):
        yield "runs code: eval"  # A network's eval() takes nothing.
    if called == "torch.load" and not _says(node, "weights_only", True):
        yield "torch.load without weights_only=True"


def _says(call: ast.Call, keyword: str, value: object) -> bool:
    given = [k.value for k in call.keywords if k.arg == keyword]
    return any(isinstance(one, ast.Constant) and one.value is value for one in given)


def _keywords(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if not isinstance(node, ast.Call):
        return
    for keyword, right, rule in (
        ("shell", False, "shell"), ("allow_pickle", False, "allow_pickle"), ("verify", True, "trusts any server"),
        ("check_hostname", True, "trusts any server"), ("weights_only", True, "torch.load without weights_only=True"),
    ):  # fmt: skip
        if any(k.arg == keyword for k in node.keywords) and not _says(node, keyword, right):
            yield rule


def _yaml(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    if not isinstance(node, ast.Call):
        return
    called = _dotted(node.func, names)
    if called.startswith("yaml.") and called.removeprefix("yaml.") in UNSAFE_YAML:
        yield f"unsafe YAML: {called}"
    if called == "yaml.load":
        loaders = [*node.args[1:], *(k.value for k in node.keywords if k.arg == "Loader")]
        if not loaders or any(_dotted(loader, names) not in SAFE_LOADERS for loader in loaders):
            yield "unsafe YAML: yaml.load"


def _processes(node: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """Find a process whose command is one text, which a shell would take apart."""
    if isinstance(node, ast.Call) and _under(_dotted(node.func, names), {"subprocess"}) and node.args:
        command = node.args[0]
        if isinstance(command, ast.JoinedStr) or (isinstance(command, ast.Constant) and isinstance(command.value, str)):
            yield "a command in one text"
