"""DiffEnc-32-4 on CIFAR-10 by the published recipe (arXiv 2310.19789): 8 M steps at batch 128.

  python -m diffenc_jax.main --config=configs/cifar10.py

docs/training.md lists what differs from the publication.
Published test bits/dim (mean and standard error over seeds):
  diffenc        2.620 +- 0.006 (3 seeds)    vdm        2.641 +- 0.003 (3 seeds)
  diffenc-8-2    2.783 (5 seeds, 2 M steps)  vdm-8      2.783 (5 seeds, 2 M steps)
  vdm-augmented  2.49 (VDM, arXiv 2107.00630)
At 310 thousand steps, a vdm has 2.794.

Arms: vdm-augmented is VDM's larger model of transformed images, with its learned schedule and batches of 1,024; how
many steps it was trained is not known. Besides these five there are nontrainable and nontrainable-8, the encoder
without a network. With -published, such as
vdm-published, an arm is trained with the differences from the published training undone that keys can undo. With
-T<depth>, such as diffenc-T10, it is trained and evaluated with that many steps. -pooled and -fast, as in
vdm-8-pooled-fast, have not been trained on these images. configs/cifar10_matched.py has arms of equal cost,
configs/cifar10_variants.py other networks and forward processes.

Cost: 21 TFLOP per step (vdm 20, diffenc-8-2 6.5, vdm-8 5.8, vdm-augmented 987), so 1.7e20 FLOP in all: six days on
four TPU v5e chips at 40 % of their bfloat16 peak. 33.3 M parameters (vdm 30.6, diffenc-8-2 10.8, vdm-8 8.9).

Data: tensorflow-datasets downloads cifar10 on first use; --config.data.dir names the folder that keeps it.
"""

from diffenc_jax.config.recipe import ARMS, choose_arm, encoder_network, recipe, score_network

EIGHT_LAYERS = {"model.score": score_network(layers=8), "train.steps": 2_000_000}
ALL_ARMS = ARMS | {
    "diffenc-8-2": EIGHT_LAYERS | {"model.encoder": encoder_network(layers=2, mid_groups=16)},
    "nontrainable-8": EIGHT_LAYERS | ARMS["nontrainable"],
    "vdm-8": EIGHT_LAYERS | ARMS["vdm"],
    "vdm-augmented": {
        **ARMS["vdm"],
        "model.score": score_network(width=256, dropout=0.05, attention=True),
        "model.schedule.kind": "monotone",
        "model.augmentation": True,
        "train.augment": "flip,rotate",
        "train.batch_size": 1024,
    },
}


def get_config(arm="diffenc"):
    return choose_arm(recipe("cifar10", arm), ALL_ARMS)
