"""The ImageNet recipe at 64x64: 256 wide, 32 layers, an encoder pooled three times.

  python -m diffenc_jax.main --config=configs/imagenet64.py

The data is tensorflow-datasets' imagenet_resized/64x64 (50,000 validation images, which are the
test split here). The DiffEnc paper has no figure for it. -pooled and -fast, as in vdm-pooled-fast, have not been
trained on these images.

Cost: 333 TFLOP per step (vdm 325), 2.7e21 FLOP for 8 M steps; 133 M parameters (vdm 122). To compare at
equal cost, vdm-params has diffenc's parameters (3 layers deeper, 6 % more training FLOPs), and vdm-flops the FLOPs of
its training (2 % more steps).
Eight v5e chips or H100s are enough in bfloat16, and one H100 with --config.model.remat=block.

Data: tensorflow-datasets downloads it on first use. Decoded, it takes 15.7 GB of memory.
"""

from diffenc_jax.config.recipe import ARMS, choose_arm, encoder_network, matched, recipe, score_network, with_changes

ALL_ARMS = ARMS | matched("vdm", ARMS["vdm"], "diffenc", layers=35)


def get_config(arm="diffenc"):
    changes = {
        "model.score": score_network(width=256),
        "model.encoder": encoder_network(layers=8, levels=3),
    }
    return choose_arm(with_changes(recipe("imagenet64", arm), changes), ALL_ARMS)
