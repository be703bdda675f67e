"""A run's config.json keeps the environments that it was trained in, and a change is said when the run goes on."""

import json

import pytest

from diffenc_jax.core import versions
from diffenc_jax.core.errors import InputError
from diffenc_jax.runs.environments import note_environment
from diffenc_jax.runs.workdir import claimed, stored_config, stored_environments, write_config
from tests import tiny

CONFIG = tiny.config("vdm", train__steps=100)


def environment(device="1 x cpu", **software):
    return {"device": device, "software": {"python": "3.11.7", "jax": "0.10.2"} | software}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """start(environment, step): start a process of the run there, which trains from `step` on; what it notes."""

    def start(here, step):
        monkeypatch.setattr(versions, "environment", lambda: here)
        with claimed(tmp_path, CONFIG):
            return note_environment(tmp_path, CONFIG, step)

    return start


def test_environments_are_kept_in_order_and_each_change_is_noted_once(start, tmp_path):
    first, second, third = environment(), environment(jax="0.12.0"), environment("8 x TPU v5 lite", libtpu="0.0.42")
    notes = [start(here, step) for step, here in enumerate([first, first, second, second, third, first])]
    assert notes == [
        "",
        "",
        "under other versions: jax 0.10.2 -> 0.12.0",
        "",
        "under other versions: jax 0.12.0 -> 0.10.2, libtpu none -> 0.0.42; "
        "on other devices: 1 x cpu -> 8 x TPU v5 lite",
        "under other versions: libtpu 0.0.42 -> none; on other devices: 8 x TPU v5 lite -> 1 x cpu",
    ]
    assert stored_environments(tmp_path) == [first, second, third, first]
    assert stored_config(tmp_path) == CONFIG


def test_steps_that_are_lost_leave_no_environment(start, tmp_path):
    """A run that was killed before its first checkpoint starts anew."""
    start(environment(), 0)
    assert start(environment(jax="0.12.0"), 0) == ""
    assert stored_environments(tmp_path) == [environment(jax="0.12.0")]


def test_a_finished_run_stays_as_it_was_trained(start, tmp_path):
    start(environment(), 0)
    assert start(environment(jax="0.12.0"), CONFIG.train.steps) == ""
    assert stored_environments(tmp_path) == [environment()]


@pytest.mark.parametrize(
    "value",
    [
        {},
        None,
        [3],
        [{"device": "1 x cpu"}],
        [environment(device=4)],
        [environment() | {"software": ["jax"]}],
        [environment(jax=None)],
        [environment() | {"more": 1}],
    ],
)
def test_other_values_are_refused_in_one_line(tmp_path, value):
    write_config(tmp_path, CONFIG)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"environments": value}))
    for read in (stored_config, stored_environments):
        with pytest.raises(InputError) as caught:
            read(tmp_path)
        assert str(caught.value) == f"{path}: 'environments' is not a list of devices and software; set it to []"
