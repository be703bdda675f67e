"""The launcher of JobSets on GKE."""

import re
import shlex

import yaml

from tests.launch.stand_ins import CONFIG, GKE, HOSTILE, LAUNCH, POOL, WORKDIR


def jobset_of(cloud, *options):
    """The JobSet that kubectl receives, its replicated job, and the pod of that job."""
    path = cloud.folder / "manifest"
    cloud.stand_in("kubectl", f"cat >{shlex.quote(str(path))}")
    done = cloud.run(LAUNCH / "gke.sh", "run", "--yes", *options)
    assert done.returncode == 0, done.stderr
    manifest = yaml.safe_load(path.read_text())
    (slices,) = manifest["spec"]["replicatedJobs"]
    return manifest, slices, slices["template"]["spec"]["template"]["spec"]


def test_a_jobset_has_one_pod_per_host(cloud):
    manifest, slices, pod = jobset_of(cloud, "--spot", "--restarts=7", "--namespace=s", *GKE["run"])
    assert cloud.calls() == [["kubectl", "apply", "--namespace=s", "--filename=-"]]
    assert (manifest["kind"], manifest["metadata"]["name"]) == ("JobSet", "set")
    assert manifest["spec"]["failurePolicy"] == {"maxRestarts": 7}
    job = slices["template"]["spec"]
    assert (job["parallelism"], job["completions"], job["completionMode"]) == (4, 4, "Indexed")
    assert job["backoffLimit"] == 0  # otherwise JobSet would not restart all pods
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "a",
        "cloud.google.com/gke-tpu-topology": "4x4",
        "cloud.google.com/gke-spot": "true",
    }
    (container,) = pod["containers"]
    assert container["resources"]["limits"] == {"google.com/tpu": 8}
    assert container["volumeMounts"] == [{"name": "runs", "mountPath": "/mnt/runs"}]
    assert pod["volumes"] == [{"name": "runs", "persistentVolumeClaim": {"claimName": "c"}}]
    assert pod["securityContext"] == {"fsGroup": 1000}  # the user of the image may write to the volume
    assert "serviceAccountName" not in pod
    assert slices["replicas"] == 1


def test_a_run_in_a_bucket_needs_no_volume(cloud):
    options = ["--name=set", *POOL[:-1], "--service-account=a: b", "--slices=3"]
    _, slices, pod = jobset_of(cloud, *options, "--", CONFIG, WORKDIR)
    assert slices["replicas"] == 3
    assert pod["serviceAccountName"] == "a: b"
    assert {"volumes", "securityContext"} & set(pod) == set()
    assert "volumeMounts" not in pod["containers"][0]


def test_a_pods_command_is_what_was_given(cloud):
    """After expansion by Kubernetes: $$ is a dollar, $(NAME) a variable."""
    odd = [HOSTILE, "--config.x=a\nb\tc: - # {} [] \\n", "--config.y=$$(HOME)$(HOME)$", "--config.z=é 'ü'"]
    image = 'i"\\m: #'
    *_, pod = jobset_of(cloud, "--name=set", f"--image={image}", *POOL[1:], "--", CONFIG, WORKDIR, *odd)
    (container,) = pod["containers"]
    read = [word.replace("$$", "$") for word in container["command"]]
    assert read == ["python", "-m", "diffenc_jax.main", "--distributed", CONFIG, WORKDIR, *odd]
    assert not any(re.search(r"(?<!\$)(\$\$)*\$(?!\$)", word) for word in container["command"])
    assert container["image"] == image


def test_a_jobset_is_inspected_and_stopped(cloud):
    for action in ("status", "tail", "stop"):
        assert cloud.run(LAUNCH / "gke.sh", action, "--name=set", "--namespace=n s").returncode == 0
    where, label = "--namespace=n s", "jobset.sigs.k8s.io/jobset-name=set"
    first = f"--selector={label},jobset.sigs.k8s.io/job-index=0,batch.kubernetes.io/job-completion-index=0"
    assert cloud.calls() == [
        ["kubectl", "get", "jobset", "set", where],
        ["kubectl", "get", "pods", where, f"--selector={label}", "--output=wide"],
        ["kubectl", "logs", where, first, "--tail=50", "--follow"],
        ["kubectl", "patch", "jobset", "set", where, "--type=merge", '--patch={"spec":{"suspend":true}}'],
    ]


def test_the_output_of_all_hosts_is_fetched(cloud):
    cloud.stand_in("kubectl", 'if [[ $1 == get ]]; then printf "pod/a-0\\npod/a-1\\n"; else echo "output of $2"; fi')
    done = cloud.run(LAUNCH / "gke.sh", "logs", "--name=set", "--to=fetched here")
    assert (done.returncode, done.stdout) == (0, "the output of each host is in fetched here\n")
    files = {path.name: path.read_text() for path in (cloud.folder / "fetched here").iterdir()}
    assert files == {"a-0.log": "output of pod/a-0\n", "a-1.log": "output of pod/a-1\n"}
