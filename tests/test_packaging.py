"""The wheel holds what the command needs: built, installed into a clean environment, run from another folder."""

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*words: object, **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(w) for w in words], capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--outdir", folder, ROOT)
    (path,) = folder.glob("*.whl")
    return path


def test_wheel_holds_every_module_and_preset(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("videomatte", "pipelines"):
        expected = {str(p.relative_to(ROOT)) for p in (ROOT / package).rglob("*.py")}
        assert expected <= names
    assert "videomatte/py.typed" in names
    for preset in (ROOT / "configs").rglob("*.yaml"):
        assert f"videomatte/{preset.relative_to(ROOT)}" in names
    assert not [n for n in names if n.startswith(("tests", "benchmarks", "configs"))]


def test_installed_command_runs_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", wheel)
    # The dependencies are those of the environment that runs the tests: what is tested here is our own wheel.
    site = next(p for p in sys.path if p.endswith("site-packages"))
    own = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    (Path(own) / "dependencies.pth").write_text(site + "\n")
    where = run(
        python, "-c", "import videomatte, pipelines; print(videomatte.__file__, pipelines.__file__)", cwd=tmp_path
    )
    assert str(ROOT) not in where.stdout
    command = python.parent / "videomatte"
    assert "matte" in run(command, "--help", cwd=tmp_path).stdout
    assert run(python, "-m", "videomatte", "--help", cwd=tmp_path).stdout
