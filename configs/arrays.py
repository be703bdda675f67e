"""Any array of real numbers: vectors [N, D], series [N, L, C] or fields [N, H, W, C], in an .npy or .npz file.

  python -m diffenc_jax.main --config.data.source=table.npy --config=configs/arrays.py

vdm, nontrainable and diffenc have perceptrons for vectors. With -series and -fields, as in vdm-series, they have U-Nets
over one or two axes, whose lengths are multiples of 4. With -few, as in vdm-few or vdm-fields-few, the networks have
dropout: without it they learn hundreds or few thousands of examples by heart.

Cost: minutes on two CPU cores.

Data: the path of a file, `data.source`; docs/data.md lists the names of its arrays. Real numbers are standardised by
means and deviations of the training data. Likelihoods are in the units of the file.
"""

from ml_collections import ConfigDict

from diffenc_jax.config.recipe import ARMS, choose_arm, encoder_network, recipe, score_network, with_changes

GAUSSIAN = ConfigDict({"kind": "gaussian"})


def perceptrons(dropout=0.0):
    # Smooth in time, so that the solver takes long steps.
    common = {"kind": "mlp", "fourier_bins": (), "time_scale": 100.0}
    score = {**common, "width": 128, "layers": 4, "dropout": dropout}
    return {"model.score": ConfigDict(score), "model.encoder": ConfigDict({**score, "width": 64, "layers": 2})}


def u_nets(dropout=0.0):
    small = dict(
        time_scale=100.0, width=32, levels=2, groups=8, mid_groups=8, out_groups=8, dropout=dropout, fourier_bins=()
    )
    return {"model.score": score_network(**small, layers=4), "model.encoder": encoder_network(**small, layers=2)}


FORMS = {"": perceptrons() | {"train.steps": 12_000}, "-series": u_nets(), "-fields": u_nets()}
FEW = {"-few": perceptrons(0.5), "-series-few": u_nets(0.1), "-fields-few": u_nets(0.1)}


def get_config(arm="vdm"):
    changes = {
        "data.pixel_levels": None,
        "data.source": "missing.npy",
        "model.decoder": GAUSSIAN,
        "model.prediction": "change",
        "model.schedule.gamma_max": 8.0,  # data that are correlated in many dimensions vary far along some directions
        "train.steps": 4000,
        "train.batch_size": 128,
        "train.learning_rate": 1e-3,
        "train.ema_decay": 0.999,
        "log.every_steps": 100,
        "log.samples": 0,
        "eval.batch_size": 512,
        "sample.sampler": "flow",
        "ode.divergence": "exact",
        "ode.method": "Tsit5",
        "ode.rtol": 1e-5,
        "ode.atol": 1e-5,
    }
    networks = FORMS | {suffix: own | {"train.steps": 3000} for suffix, own in FEW.items()}
    models = ARMS | {"diffenc": {"model.derivative_head": True}}  # which the flow needs
    arms = {f"{name}{suffix}": own | models[name] for name in models for suffix, own in networks.items()}
    config = choose_arm(with_changes(recipe("arrays", arm), changes), arms)
    # Ten evaluations at least, since networks may learn few examples by heart, and the best checkpoint is kept.
    config.eval.every_steps = config.checkpoint.every_steps = min(1000, config.train.steps // 10)
    return config
