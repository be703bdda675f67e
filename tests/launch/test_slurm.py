"""The launcher of SLURM jobs."""

import shlex

import pytest

from tests import ROOT
from tests.launch.stand_ins import CONFIG, FLAGS, LAUNCH, SLURM

SRUN = """
until [[ $1 == bash || $1 == python ]]; do shift; done
"$@"
"""


QUEUE = ["--time=24:00:00", "--cpus-per-task=4", "--signal=TERM@120", "--requeue", "--open-mode=append"]
JOB = str(LAUNCH / "slurm_job.sh")


def test_a_run_has_one_process_per_gpu(cloud):
    options = ["--nodes=2", "--gpus=4", "--name=a b", "--partition=p;q", "--account=$(a)"]
    assert cloud.run(LAUNCH / "slurm.sh", "run", *options, "--", *FLAGS).returncode == 0
    where = ["--job-name=a b", "--partition=p;q", "--account=$(a)"]
    share = ["--nodes=2", "--ntasks-per-node=4", "--gpus-per-node=4"]
    assert cloud.calls() == [["sbatch", *where, *QUEUE, *share, JOB, "run", *FLAGS]]


def test_an_array_runs_the_plan_and_then_reports(cloud):
    root = cloud.folder / "a $(root)"
    done = cloud.run(LAUNCH / "slurm.sh", "array", f"--root={root}", "--parallel=3", *SLURM["array"][1:], cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    array, report = cloud.calls()
    name, share = ["--job-name=diffenc"], ["--array=1-6%3", "--ntasks=1", "--gpus=1"]
    assert array == ["sbatch", "--parsable", *name, *QUEUE, *share, JOB, "line", f"{root}/jobs.txt"]
    after = ["--dependency=afterany:77", "--time=1:00:00", "--ntasks=1"]
    assert report == ["sbatch", *name, *after, JOB, "report", str(root)]
    lines = (root / "jobs.txt").read_text().splitlines()
    runs = [f"--workdir={root}/{arm}-seed{seed}" for seed in (0, 1) for arm in ("vdm", "diffenc")]
    for line, workdir in zip(lines, runs, strict=False):
        assert shlex.split(line).count(workdir) == 2  # trained, and evaluated with more passes
    assert len(lines) == len(runs) + 2  # the cost of a step of each arm


def job(cloud, *words, **environment):
    return cloud.run(JOB, *words, SLURM_JOB_ID="5", SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="2", **environment)


def test_a_job_starts_main_through_srun(cloud):
    assert job(cloud, "run", *FLAGS).returncode == 0
    main = ["python", "-m", "diffenc_jax.main", "--distributed", *FLAGS]
    assert cloud.calls() == [["srun", "--kill-on-bad-exit=1", "--gpu-bind=none", *main]]


def test_a_task_runs_its_line_to_the_first_failure(cloud):
    cloud.stand_in("srun", SRUN)
    cloud.stand_in("python", "[[ $1 != three ]]")
    (cloud.folder / "jobs.txt").write_text("python one\npython 'two $x' && python three && python four\npython five\n")
    assert job(cloud, "line", "jobs.txt").returncode == 1
    assert cloud.calls()[1:] == [["python", "two $x"], ["python", "three"]]


def test_a_tasks_shell_waits_for_its_python_to_save(cloud):
    cloud.stand_in("srun", SRUN)
    cloud.stand_in("python", "kill -TERM $PPID; sleep 0.2; echo saved; exit 143")  # as SLURM signals all processes
    (cloud.folder / "jobs.txt").write_text("\npython one && python two\n")
    done = job(cloud, "line", "jobs.txt")
    assert (done.returncode, done.stdout) == (143, "saved\n")
    assert cloud.calls()[1:] == [["python", "one"], ["scontrol", "requeue", "7_2"]]


ENDINGS = [
    ("exit 143", 143, True),  # a signal asked it to save
    ("kill -TERM $PPID; exit 143", 143, False),  # scancel, which signals the script too
    ("exit 1", 1, False),
    ("exit 0", 0, False),
]


@pytest.mark.parametrize(("srun", "code", "requeued"), ENDINGS)
def test_a_job_that_saved_is_queued_again(cloud, srun, code, requeued):
    cloud.stand_in("srun", srun)
    assert job(cloud, "run", CONFIG).returncode == code
    assert cloud.calls()[1:] == ([["scontrol", "requeue", "5"]] if requeued else [])


def test_a_report_is_made(cloud):
    cloud.stand_in("python")
    assert job(cloud, "report", "a root").returncode == 0
    assert cloud.calls() == [["python", "-m", "diffenc_jax", "significance", "report", "--root=a root"]]
