"""Imports point one way, optional packages stay optional, and importing videomatte costs nothing it need not."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import videomatte

ROOT = Path(__file__).parents[1]
FILES = sorted([*(ROOT / "videomatte").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    """Every module a file imports at run time, inside functions too, as dotted names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


LAYERS = [
    {"videomatte.types", "videomatte.errors", "videomatte.cores"},
    {  # mathematics: tensors in, tensors out; no frames of a clip, no files
        "videomatte.components",
        "videomatte.pixels",
        "videomatte.strips",
        "videomatte.windows",
        "videomatte.composite",
        "videomatte.device",
        "videomatte.fit",
        "videomatte.flow",
        "videomatte.io.chroma",
        "videomatte.io.colour",
        "videomatte.io.pixel_layout",
        "videomatte.light",
        "videomatte.metrics",
        "videomatte.models",
        "videomatte.refine.despill",
        "videomatte.refine.foreground",
        "videomatte.refine.places",
        "videomatte.refine.unmix",
        "videomatte.shadow",
        "videomatte.sheet",
        "videomatte.trimaps.belief",
        "videomatte.trimaps.clothes",
        "videomatte.trimaps.hue",
        "videomatte.trimaps.morphology",
        "videomatte.trimaps.registration",
        "videomatte.trimaps.screen",
        "videomatte.trimaps.silhouette",
        "videomatte.trimaps.small",
        "videomatte.trimaps.spread",
        "videomatte.trimaps.statistics",
    },
    {  # stages, and what they are run with
        "videomatte.config",
        "videomatte.engine",
        "videomatte.io",
        "videomatte.layers",
        "videomatte.matting",
        "videomatte.refine",
        "videomatte.replace",
        "videomatte.scenes",
        "videomatte.training",
        "videomatte.trimaps",
        "videomatte.tuned",
    },
    {"pipelines"},
    {"videomatte.cli", "videomatte.__main__", "videomatte"},
]


def layer(module: str) -> int:
    """Number of the layer a module is in, by the longest name listed."""
    names = {name: number for number, names in enumerate(LAYERS) for name in names}
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        if name in names and (name != "videomatte" or module == "videomatte"):
            return names[name]
    raise AssertionError(f"{module} is in no layer: give it one in tests/test_architecture.py")


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_downwards(path: Path) -> None:
    modules = {module_name(file) for file in FILES}
    here = layer(module_name(path))
    for name in imports(path) & modules:
        assert layer(name) <= here or name == "videomatte", f"{module_name(path)} imports {name}, which stands above it"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_packages_are_imported_only_where_they_belong(path: Path) -> None:
    rooms = {
        "av": ("videomatte.io", "videomatte.training.damage"),
        "decord": ("videomatte.io",),
        "kornia": ("videomatte",),
        "pymatting": ("videomatte.matting.closed_form",),
        "transformers": (),
        "pipelines": ("pipelines", "videomatte.cli"),
    }
    for name in imports(path):
        top = name.partition(".")[0]
        if top in rooms:
            assert module_name(path).startswith(rooms[top] or ("-",)), f"{module_name(path)} must not import {top}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_files_stay_readable(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{path.name} has {lines} lines: split it by idea"


def run_python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_import_loads_nothing_heavy() -> None:
    loaded = run_python("import sys, videomatte; print(*sys.modules)").split()
    heavy = {"av", "decord", "gradio", "kornia", "pymatting", "ray", "torch", "transformers", "tyro"}
    assert not heavy & set(loaded)


def test_help_loads_no_torch() -> None:
    code = "import sys\nfrom videomatte.cli import main\nassert main(['--help']) == 0\nprint(*sys.modules)"
    assert not {"av", "kornia", "torch"} & set(run_python(code).split())


def test_matting_loads_no_compiler() -> None:
    """It takes over a second to load, and each of the matting's processes would load it."""
    loaded = run_python("import sys, videomatte.matting; print(*sys.modules)").split()
    assert "torch" in loaded
    assert "torch._dynamo" not in loaded


def test_public_names_are_listed_once_and_exist() -> None:
    tree = ast.parse(Path(videomatte.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.asname
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != "typing" and node.module != "__future__"
        for alias in node.names
    }
    assert typed == set(videomatte.__all__), "names for type checkers and names at run time must agree"
    for name in videomatte.__all__:
        assert getattr(videomatte, name).__name__ == name


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_all_lists_exist(path: Path) -> None:
    """Where a module has ``__all__``, every name in it is there, and it is sorted."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            if not isinstance(node.value, ast.List):
                continue
            names = ast.literal_eval(node.value)
            defined = {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
            defined |= {a.asname or a.name for n in tree.body if isinstance(n, ast.ImportFrom) for a in n.names}
            defined |= {
                t.id
                for n in tree.body
                if isinstance(n, ast.Assign | ast.AnnAssign)
                for t in (n.targets if isinstance(n, ast.Assign) else [n.target])
                if isinstance(t, ast.Name)
            }
            assert set(names) <= defined, set(names) - defined
