"""The command line: what is wrong ends in one line on standard error, exit code 2."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from diffenc_jax import workdir
from tests import shipped

ROOT = Path(__file__).parent.parent
DIGITS = "--config=configs/digits.py"
MATCHED = ["diffenc", "nontrainable", "vdm", "vdm-params", "vdm-flops"]
OTHER_ENCODERS = ["diffenc-transformer", "diffenc-dct"]


def run(*args, **environment):
    """The program as a user starts it."""
    command = [sys.executable, "-m", "diffenc_jax.main", *args]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "--config is missing; give one such as --config=configs/digits.py"),
        ([f"{DIGITS}:diffusion"], "unknown arm 'diffusion'; known: diffenc, diffenc-dct, diffenc-transformer"),
        (
            ["--config=configs/cifar10.py:vdm-9"],
            "known: diffenc, diffenc-8-2, diffenc-dct, diffenc-transformer, nontrainable, nontrainable-8, vdm",
        ),
        ([DIGITS, "--config.sed=1"], "unknown configuration key 'sed'; known: arm, name, seed"),
        (
            [DIGITS, "--config.train.stepz=1"],
            "unknown configuration key 'train.stepz'; known: train.accumulate, train.b1",
        ),
        ([f"{DIGITS}:vdm", "--config.model.encoder.width=8"], "unknown configuration key 'model.encoder.width'"),
        ([DIGITS, "--config.train.steps=many"], "flag --config.train.steps=many: invalid literal for int()"),
        ([DIGITS, "--config.loss.variance_ratio={1,2}"], "loss.variance_ratio must be a number, text, truth value"),
        ([DIGITS, "--config.train.steps.more=1"], "unknown configuration key 'train.steps.more'"),
        (["--config=configs/nothing.py"], "No such file or directory: 'configs/nothing.py'"),
        (["--config=tests/tiny.py"], "no attribute 'get_config'"),
        ([DIGITS, "--config.train.steps"], "Missing value for flag --config.train.steps"),
        ([DIGITS, "--mode=fly"], "value should be one of <train|eval|sample>"),
        ([DIGITS, "--depth=3"], "Unknown command line flag 'depth'"),
        ([DIGITS, "eval"], "unexpected argument 'eval'"),
        ([DIGITS, "--distributed"], "no cluster to join was found: coordinator_address should be defined. Start it by"),
        ([DIGITS, "--coordinator=there"], "must be host:port, such as localhost:8476"),
        ([DIGITS, "--coordinator=localhost:1"], "no cluster to join was found: Number of processes must be defined."),
        ([DIGITS, "--coordinator=localhost:1", "--processes=2", "--process=2"], "with process_id < num_processes"),
    ],
)
def test_bad_arguments(args, message):
    done = run(*args)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_bad_input_ends_the_program_in_one_line(tmp_path):
    done = run(DIGITS, f"--workdir={tmp_path}/run", "--mode=eval")
    assert done.returncode == 2
    assert (
        done.stderr
        == f"error: {tmp_path}/run holds no run (no config.json); train one there first, or give its --workdir\n"
    )


def test_a_batch_that_does_not_divide_over_the_devices(tmp_path):
    eight = "--xla_force_host_platform_device_count=8"
    done = run(DIGITS, f"--workdir={tmp_path}/run", "--config.train.batch_size=12", XLA_FLAGS=eight)
    assert done.returncode == 2
    assert done.stderr == "error: train.batch_size=12 does not divide over 8 devices; take a multiple of 8\n"
    assert not (tmp_path / "run").exists()


def test_help_is_quick_to_load():
    """Neither the package nor its command line imports JAX or TensorFlow to say what it can do."""
    code = "import diffenc_jax.main, sys; print([m for m in ('jax', 'tensorflow', 'flax') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "arms"),
    [
        (
            "cifar10",
            [*MATCHED, *OTHER_ENCODERS, "diffenc-8-2", "nontrainable-8", "vdm-8", "vdm-8-params", "vdm-8-flops"],
        ),
        ("digits", [*MATCHED, *OTHER_ENCODERS]),
        *[(n, MATCHED) for n in ("fashion_mnist", "imagenet32", "imagenet64", "mnist")],
        ("synthetic", ["diffenc", "nontrainable", "vdm", "vdm-flops"]),
    ],
)
def test_every_shipped_configuration_builds(name, arms):
    """Shapes alone are computed, for the data that each is meant for; its opening names its command."""
    import jax

    from diffenc_jax.config import check_sections
    from diffenc_jax.data.dataset import image_shape
    from diffenc_jax.model import ImageSpec, build

    module = shipped.load(name)
    assert f"--config=configs/{name}.py\n" in module.__doc__
    workdirs = set()
    for arm in arms:
        config = module.get_config(arm)
        check_sections(config)
        workdirs.add(str(workdir.default_workdir(config)))
        model = build(config, ImageSpec(image_shape(config), config.data.levels))
        assert ("encoder" in jax.eval_shape(model.init, jax.random.key(0))) == arm.startswith("diffenc")
    assert workdirs == {f"runs/{name}-{arm}-seed0" for arm in arms}


def test_the_cifar10_recipe_is_the_published_one():
    """33.3 M parameters: the score network's 30.6 M, and an encoder's 2.7 M."""
    import jax

    from diffenc_jax.config import encoder_network, recipe, score_network
    from diffenc_jax.model import ImageSpec, build

    config = recipe("cifar10", "diffenc")
    assert config.model.score == score_network()
    assert config.model.encoder == encoder_network()
    shapes = jax.eval_shape(build(config, ImageSpec((32, 32, 3), 256)).init, jax.random.key(0))
    count = {name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in shapes.items()}
    assert count == {"score": 30_578_179, "encoder": 2_744_131, "schedule": 0}
    assert (config.train.batch_size, config.train.learning_rate, config.train.ema_decay) == (128, 2e-4, 0.9999)
    assert (config.train.steps, config.train.warmup_steps, config.train.weight_decay) == (8_000_000, 100, 0.01)
