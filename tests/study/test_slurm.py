"""The array job of Slurm: its script as a shell reads it, its submission, and its requeueing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ethosteer.errors import InputError
from ethosteer.interruption import Interrupted
from ethosteer.study.run import Study
from ethosteer.study.slurm import SlurmJob, requeue
from ethosteer.study.worker import PARENT
from tests.study.test_nothing_lost import Call

OPTIONS = ("--workers", "8", "--at-once", "4", "--cpus", "8", "--mem", "64G", "--time", "24:00:00",
           "--option=--partition=a100")  # fmt: skip


def command_of(script: Path, folder: Path) -> list[str]:
    """Run a script with an interpreter that writes down its arguments; return them."""
    recorder = folder / "python"
    recorder.write_text('#!/bin/bash\nprintf "%s\\n" "$@" "$OMP_NUM_THREADS"\n')
    recorder.chmod(0o755)
    text = script.read_text("utf-8")
    assert text.count(sys.executable) == 1
    script.write_text(text.replace(sys.executable, str(recorder)), "utf-8")
    ended = subprocess.run(
        ["bash", str(script)], capture_output=True, text=True, check=True, cwd="/"
    )
    return ended.stdout.splitlines()


def fake(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> Path:
    """Put a command of Slurm's on the path that writes down its arguments."""
    log = folder / f"{name}.log"
    (folder / name).write_text(f'#!/bin/bash\necho "$@" >> {log}\n{code}\n')
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return log


def test_the_script_starts_workers_with_the_same_arguments(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    setting = 'question="What\'s $HOME worth?"'
    status, out, _ = call("slurm", "demo", "--runs-dir", "my runs", "--set", setting, *OPTIONS)
    path = tmp_path / "my runs" / "demo" / "slurm.sh"
    assert status == 0 and f"sbatch '{path}'" in " ".join(out.split())
    lines = path.read_text("utf-8").splitlines()
    assert lines[0] == "#!/bin/bash"
    assert [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")] == [
        "--job-name=ethosteer-demo", "--array=0-7%4", "--requeue", "--open-mode=append",
        "--signal=B:USR1@120", f'--output="{path.parent}/slurm-%A_%a.log"',
        f'--chdir="{tmp_path}"', "--cpus-per-task=8", "--gres=gpu:1", "--mem=64G",
        "--time=24:00:00", "--partition=a100",
    ]  # fmt: skip
    assert lines[-1].startswith("exec "), "the warning goes to the shell, whose place it takes"
    assert command_of(path, tmp_path) == [
        "-P", "-m", "ethosteer", "work", "demo", "--runs-dir", str(tmp_path / "my runs"),
        "--set", setting, "--requeue", "8",
    ]  # fmt: skip


def test_a_study_file_is_named_by_its_absolute_path(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(
        'name = "mine"\nquestion = "?"\n[arms.virtue]\n[benchmarks]\ntoxigen = {}\n',
        encoding="utf-8",
    )
    assert call("slurm", "mine.toml", "--gpus", "0", "--workers", "2")[0] == 0
    script = tmp_path / "runs" / "mine" / "slurm.sh"
    assert "gpu" not in script.read_text("utf-8")
    assert command_of(script, tmp_path)[4] == str(tmp_path / "mine.toml")


@pytest.mark.parametrize("time", ["4", "3:01", "0:03:01", "0-1", "1-0:0:0", "0"])
def test_a_task_may_work_before_it_is_warned(time: str) -> None:
    assert f"#SBATCH --time={time}\n" in SlurmJob(1, time=time).script("demo", Path("log"), [])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--time", "a day"), "--time 'a day': write hours:minutes:seconds"),
        (("--time", "5:00", "--warning", "240"), "--time 5:00: a task is warned 240 seconds"),
        (("--time", "3"), "raise --time or lower --warning"),
        (("--mem", "64 GB"), "--mem '64 GB': write a number with its unit"),
        (("--option", "x\n#SBATCH --exclusive"), "--option"),
        (("--option=--signal=TERM@3",), "--option '--signal=TERM@3': --warning settles it here"),
        (("--option=-t5",), "--option '-t5': --time settles it here"),
        (("--runs-dir", 'a"b'), "Slurm takes no folder with quotes"),
    ],
)
def test_what_sbatch_would_not_take_is_one_line(
    wrong: tuple[str, str], said: str, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, error = call("slurm", "demo", *wrong)
    assert (status, out, error.count("\n")) == (2, "", 1)
    assert error.startswith("error: ") and said in error


@pytest.mark.parametrize("time", ["90", "30:00", "24:00:00", "2-0", "1-12:30", "1-12:30:00"])
def test_times_as_sbatch_reads_them(time: str) -> None:
    assert f"#SBATCH --time={time}\n" in SlurmJob(1, time=time).script("a", Path("log"), ["b"])


def test_the_script_is_submitted(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    status, _, error = call("slurm", "demo", "--submit")
    assert status == 2 and "sbatch: no such command on this machine" in error
    log = fake("sbatch", tmp_path, monkeypatch, "echo Submitted batch job 7")
    status, out, _ = call("slurm", "demo", "--submit")
    assert (status, out) == (0, "Submitted batch job 7\n")
    assert log.read_text() == f"{tmp_path}/runs/demo/slurm.sh\n"
    fake("sbatch", tmp_path, monkeypatch, "echo sbatch: error: Invalid partition >&2; exit 1")
    status, _, error = call("slurm", "demo", "--submit")
    assert (status, error.count("\n")) == (2, 1) and "Invalid partition" in error


def test_the_warning_requeues_the_job(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import signal

    log = fake("scontrol", tmp_path, monkeypatch, "")

    def stopped(number: signal.Signals) -> Callable[..., None]:
        def stop(*_: object) -> None:
            raise Interrupted(number)

        return stop

    command = ("work", "demo", "--runs-dir", str(tmp_path), "--requeue")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    monkeypatch.setattr("ethosteer.study.worker.work", stopped(signal.SIGTERM))
    status, _, error = call(*command)
    assert status == 143 and not log.exists()
    assert "or `ethosteer work " in error
    monkeypatch.setenv(PARENT, "1")
    assert call(*command)[2].endswith("and what is done is stored\n"), "its parent says the rest"
    monkeypatch.setattr("ethosteer.study.worker.work", stopped(signal.SIGUSR1))
    assert call(*command)[0] == 138
    assert log.read_text() == "requeue 12\n"
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")  # as the last task of an array has it
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "3")
    assert call(*command)[0] == 138
    assert log.read_text() == "requeue 12\nrequeue 12_3\n"
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(InputError, match="this is no job of Slurm's"):
        requeue()


def test_a_worker_outside_of_slurm_that_is_to_requeue_is_refused_before_its_work(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setattr("ethosteer.study.worker.work", lambda _: pytest.fail("it has worked"))
    status, _, error = call("work", "demo", "--runs-dir", str(tmp_path), "--requeue")
    assert (status, error.count("\n")) == (2, 1) and "this is no job of Slurm's" in error


def test_a_task_has_one_gpu_at_most_as_a_worker_uses_one(call: Call, tmp_path: Path) -> None:
    status, _, error = call("slurm", "demo", "--runs-dir", str(tmp_path), "--gpus", "2")
    assert status == 2 and "--gpus" in error


@pytest.mark.skipif(shutil.which("sbatch") is None, reason="Slurm is not installed")
def test_slurm_takes_the_script(call: Call, tmp_path: Path) -> None:
    assert call("slurm", "demo", "--runs-dir", str(tmp_path), "--gpus", "0", "--cpus", "1",
                "--time", "10")[0] == 0  # fmt: skip
    tried = subprocess.run(
        ["sbatch", "--test-only", str(tmp_path / "demo" / "slurm.sh")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if subprocess.run(["sinfo"], capture_output=True, check=False).returncode != 0:
        pytest.skip("Slurm does not run here")
    assert tried.returncode == 0 and "to start at" in tried.stderr


def test_a_finished_run_is_no_less_a_study(tmp_path: Path, tiny_base: Path, call: Call) -> None:
    from tests.study.test_nothing_lost import open_study

    study: Study = open_study(tiny_base, tmp_path)
    study.store.root.mkdir(parents=True)
    study.begin()
    assert call("slurm", str(study.folder))[0] == 0
    assert f" work {study.folder} --runs-dir" in (study.folder / "slurm.sh").read_text("utf-8")
