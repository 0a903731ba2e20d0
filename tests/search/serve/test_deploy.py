"""Files of `fewest deploy`, against the schemas and programs of those who read them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from search.query import runs as query
from search.serve.deploy import Deployment, Target, rendered
from search.spec import parsing as options
from search.spec import stored_study
from search.spec.study_spec import StudySpec
from storage.store import Store
from tests.support.command import FEWEST, command

GPUS = pytest.mark.parametrize("gpus", [0, 1])


def documents(texts: dict[str, str]) -> list[dict[str, Any]]:
    """Every YAML document of some files."""
    return [found for name in texts if name.endswith(".yaml") for found in yaml.safe_load_all(texts[name])]


@GPUS
def test_kubernetes_knows_every_field(gpus: int) -> None:
    """Every object passes the strict schema of its kind; the workers are the pods of one indexed Job."""
    found = documents(rendered(Deployment(Target.KUBERNETES, workers=7, gpus=gpus)))
    for each in found:
        kubernetes_validate.validate(each, "1.31", strict=True)
    job = found[-1]["spec"]
    assert (job["completionMode"], job["completions"], job["parallelism"]) == ("Indexed", 7, 7)
    (container,) = job["template"]["spec"]["containers"]
    assert container["resources"]["limits"].get("nvidia.com/gpu", 0) == gpus
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(found[-1] | {"spec": job | {"workers": 7}}, "1.31", strict=True)


@GPUS
def test_compose_knows_every_field(tmp_path: Path, gpus: int) -> None:
    """The file passes the schema of the Compose specification, and is for this machine alone."""
    text = rendered(Deployment(Target.COMPOSE, workers=7, gpus=gpus))["compose.yaml"]
    found = yaml.safe_load(text)["services"]
    assert found["worker"]["deploy"]["replicas"] == 7 and found["serve"]["ports"] == ["127.0.0.1:8080:8080"]
    for name, right in (("right", text), ("wrong", text.replace("stop_grace_period", "grace"))):
        (tmp_path / name).write_text(right)
        check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
        done = subprocess.run([*check, "--default-filetype", "yaml", tmp_path / name], capture_output=True, text=True)
        assert (done.returncode == 0) == (name == "right"), done.stdout + done.stderr


@GPUS
def test_systemd_has_no_complaints(tmp_path: Path, gpus: int) -> None:
    """`systemd-analyze verify` says nothing about the units, of an installed program."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd is not installed here")
    texts = rendered(Deployment(Target.SYSTEMD, gpus=gpus))
    units = [name for name in texts if name.endswith(".service")]
    for name in units:
        (tmp_path / name).write_text(texts[name].replace("/opt/fewest/bin/fewest", FEWEST))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


@GPUS
def test_the_slurm_script_is_sound(gpus: int) -> None:
    """shellcheck finds nothing in it, and it asks for as many GPUs as each worker gets."""
    text = rendered(Deployment(Target.SLURM, workers=7, gpus=gpus))["fewest.sbatch"]
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, "-s", "bash", "-"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("#SBATCH --gpus=1" in text, "#SBATCH --array=1-7" in text) == (bool(gpus), True)


def submitted(home: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """The Slurm script, run by hand in a person's home."""
    script = rendered(Deployment(Target.SLURM))["fewest.sbatch"]
    known = {name: value for name, value in os.environ.items() if not name.startswith("FEWEST_")}
    known |= {"HOME": str(home), "PATH": f"{Path(FEWEST).parent}:{os.environ['PATH']}"} | extra
    return subprocess.run(["bash", "-c", script], env=known, cwd=home, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("url", ["postgres"], indirect=True)
def test_the_slurm_script_serves_a_study_to_its_end(tmp_path: Path, url: str, store: Store) -> None:
    """The URL comes from a file that is its owner's alone; the worker leaves when nothing is left."""
    spec = StudySpec.of(classes=options.class_counts("8"), inputs=16, max_epochs=20)
    study = store.write(stored_study.create, "default", spec, 5)
    assert "set FEWEST_STORAGE" in submitted(tmp_path).stderr
    file = tmp_path / ".fewest-storage"
    file.write_text(f"{url}\n")
    file.chmod(0o644)
    assert "chmod 600" in submitted(tmp_path).stderr
    file.chmod(0o600)
    done = submitted(tmp_path)
    assert done.returncode == 0, done.stderr
    assert store.read(query.status, study).done >= 5


def test_the_slurm_script_refuses_sqlite(tmp_path: Path) -> None:
    """A file's locks do not hold between nodes, and the script says so before any work."""
    done = submitted(tmp_path, FEWEST_STORAGE="sqlite:///fewest.db")
    assert done.returncode == 2 and "locks do not hold" in done.stderr


@pytest.mark.parametrize("name", ["worker", "serve", "token", "launch"])
def test_every_printed_option_is_one(tmp_path: Path, name: str) -> None:
    """Each option of a command that is printed, in comments too, stands in the command's help."""
    lines = [line for target in Target for gpus in (0, 1) for line in _lines(Deployment(target, gpus=gpus))]
    said = [match[1] for line in lines for match in re.finditer(rf"\b{name}\b(.*)", line)]
    used = {option for text in said for option in re.findall(r"(?<![\w-])--[a-z-]+", re.split(r"[`;&]|  ", text)[0])}
    help = command(tmp_path, name, "--help").stdout
    assert used and not {option for option in used if not re.search(rf"{option}\b", help)}


def test_no_command_holds_a_password() -> None:
    """Placeholders of passwords stand only in files that are written for their owner alone."""
    texts = {name: text for target in Target for name, text in rendered(Deployment(target)).items()}
    assert {name for name, text in texts.items() if "CHANGE-ME" in text} == {"secret.yaml", "fewest.env"}


def test_files_are_written_once(tmp_path: Path) -> None:
    """`--out` makes a directory, keeps secrets to their owner, and never overwrites what may be filled in."""
    again = ["deploy", "systemd", "--out", "units"]
    done = command(tmp_path, *again)
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 3)
    assert (tmp_path / "units/fewest.env").stat().st_mode & 0o077 == 0
    (tmp_path / "units/fewest.env").write_text("filled in")
    done = command(tmp_path, *again)
    assert done.returncode == 2 and "is there already" in done.stderr
    assert (tmp_path / "units/fewest.env").read_text() == "filled in"


@pytest.mark.parametrize("wrong", [["slurm", "--image", "a"], ["compose", "--image", "a b"], ["slurm", "--gpus", "2"]])
def test_misuse_is_one_line(tmp_path: Path, wrong: list[str]) -> None:
    """An image where none is run, a name that is none, GPUs that a worker would leave idle: exit status 2."""
    done = command(tmp_path, "deploy", *wrong)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def _lines(deployment: Deployment) -> list[str]:
    """The lines of its files, lists of arguments as the commands that they are."""
    text = "\n".join(rendered(deployment).values())
    return re.sub(r'\["(.*)"\]', lambda match: match[1].replace('", "', " "), text).splitlines()
