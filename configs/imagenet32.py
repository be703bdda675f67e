"""DiffEnc-32-8 on ImageNet 32x32 by the published recipe (arXiv 2310.19789): 256 wide, batch 256.

  python -m diffenc_jax.main --config=configs/imagenet32.py

The data is the new, anti-aliased version (tensorflow-datasets' imagenet_resized/32x32, 50,000
validation images, which are the test split here): its bits/dim are not comparable with those of
the old one (downsampled_imagenet, 49,999 images), on which the same vdm has 3.72.
Published bits/dim: 3.46 for both diffenc and vdm. docs/training.md lists what differs from the
publication; diffenc-published, nontrainable-published and vdm-published undo what keys can undo in training.
-pooled and -fast, as in vdm-pooled-fast, have not been trained on these images.

Cost: 162 TFLOP per step (vdm 157), 1.3e21 FLOP for 8 M steps; 127 M parameters (vdm 122). To compare at
equal cost, vdm-params has diffenc's parameters (one layer deeper, 0 % more training FLOPs), and vdm-flops the FLOPs
of its training (3 % more steps). Four v5e chips are enough in bfloat16.

Data: tensorflow-datasets downloads it on first use, or reads Imagenet32_{train,val}_npz.zip if they
are there. Decoded, it takes 3.9 GB of memory.
"""

from diffenc_jax.config.recipe import (
    ARMS,
    choose_arm,
    encoder_network,
    matched,
    recipe,
    score_network,
    with_changes,
)

ALL_ARMS = ARMS | matched("vdm", ARMS["vdm"], "diffenc", layers=33)


def get_config(arm="diffenc"):
    changes = {
        "model.score": score_network(width=256),
        "model.encoder": encoder_network(layers=8),
        "train.batch_size": 256,
        "eval.batch_size": 256,
    }
    return choose_arm(with_changes(recipe("imagenet32", arm), changes), ALL_ARMS)
