"""Forward processes that are built from a configuration: where they start, what trains them, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from diffenc_jax.config.recipe import affine_process, encoder_network
from diffenc_jax.core.errors import InputError
from diffenc_jax.diffusion.losses import bound_at
from diffenc_jax.model import ImageSpec, build
from tests import tiny

SPEC = ImageSpec((4, 4, 1), tiny.LEVELS)
AFFINE = affine_process(encoder_network(kind="affine", width=32, layers=1, levels=1, **tiny.NORMS))
PROCESSES = {
    "affine": ("diffenc", AFFINE),
    "polynomial": ("vdm", {"model.schedule.kind": "polynomial"}),
    "image": ("vdm", {"model.target": "image"}),
}


def configured(arm, changes):
    return tiny.config(arm, small=True).replace({**changes})


def evaluated(arm, changes, disturbed=False):
    """The mean bound by term and its gradient, at initial parameters or away from them."""
    model = build(configured(arm, changes), SPEC)
    params = tiny.initial(model)
    params = tiny.away_from_zero(params) if disturbed else params
    pixels, t = jnp.asarray(tiny.images(6)), jnp.linspace(0.05, 0.95, 6)
    noise = model.draw_noise(jax.random.key(1), t)

    @jax.jit
    @jax.value_and_grad
    def bound(params):
        return bound_at(model.bind(params), pixels, model.place(params, t), noise).total.mean()

    return bound(params)


@pytest.mark.parametrize("name", PROCESSES)
def test_each_starts_as_vdm(name):
    """All of them are VDM at initialisation, when the score networks have the same parameters."""
    ours, _ = evaluated(*PROCESSES[name])
    vdm, _ = evaluated("vdm", {})
    assert float(ours) == pytest.approx(float(vdm), rel=1e-5)


@pytest.mark.parametrize(("name", "part"), [("affine", "encoder"), ("polynomial", "schedule")])
def test_the_bound_trains_what_is_learned(name, part):
    """Each array of the learned part has a gradient."""
    value, gradient = evaluated(*PROCESSES[name], disturbed=True)
    assert np.isfinite(value)
    for path, leaf in jax.tree.leaves_with_path(gradient[part]):
        assert np.any(np.asarray(leaf) != 0), path


@pytest.mark.parametrize(
    ("arm", "changes", "message"),
    [
        (
            "diffenc",
            AFFINE | {"model.target": "encoded"},
            "model.encoder.kind=affine scales the noise as well; it needs",
        ),
        (
            "diffenc",
            {"model.schedule.kind": "polynomial"},
            "has a γ per pixel, and an encoder's network is told only one",
        ),
        ("diffenc", {"model.target": "image", "loss.extrapolation": "exponential"}, "the encoder gives the drift"),
        ("diffenc", {"model.target": "image", "model.derivative_head": True}, "the encoder gives the drift"),
        ("diffenc", AFFINE | affine_process(AFFINE["model.encoder"], reach=0.0), "reach=0.0 must be positive"),
    ],
)
def test_what_makes_no_sense_is_refused(arm, changes, message):
    with pytest.raises(InputError, match=message):
        build(configured(arm, changes), SPEC)
