"""Cores shared between stages: asked of fresh processes, for it hangs on what has been imported."""

import os
import subprocess
import sys

import pytest

ASK = """
import os, sys
from videomatte.cores import leave_cores_to_stages
if sys.argv[2] == "torch":
    import torch
leave_cores_to_stages(sys.argv[1])
print(os.environ.get("OMP_NUM_THREADS", "unset"))
"""


def threads(model: str, cores: int, before: str = "", said: str | None = None) -> str:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system does not tell which cores a process may use")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if said is not None:
        environment["OMP_NUM_THREADS"] = said
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    script = f"import os\nos.sched_setaffinity(0, {allowed})\n{ASK}"
    command = [sys.executable, "-c", script, model, before]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(("model", "expected"), [("embedded", "1"), ("laplacian", "1"), ("vitmatte-s", "unset")])
def test_models_of_small_steps_take_one_core(model: str, expected: str) -> None:
    assert threads(model, cores=1) == expected


def test_what_the_user_says_holds() -> None:
    assert threads("embedded", cores=1, said="2") == "2"


def test_nothing_is_said_once_torch_is_there() -> None:
    """It would be told to child processes alone, and to them wrongly."""
    assert threads("embedded", cores=1, before="torch") == "unset"
