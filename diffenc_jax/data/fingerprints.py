"""What a set of images is: digests of its bytes, and the names of well-known ones."""

import hashlib

import numpy as np

ImageShape = tuple[int, int, int]
SplitOf = tuple[str, int, ImageShape]  # split, number of images, shape of one

# By `sha256_any_order`.
BY_DIGEST = {
    "81eecd9d0769d84612d2d66781c4dedd56e2d9a31e27a30abc83370c4807db8b": "scikit-learn's digits, train",
    "8e629989d5af8047cb2c132703a96a754219b5b38529075129e62d9d6977ee32": "scikit-learn's digits, test",
    "a617d5cb783629da4bcf9ed8b9834a6275bb7a78d4c673a99ed254143a024c05": "synthetic swirl, train",
    "a5564ef55d603c6d41377b5ccce645ecc7f6c8b194f65cdc3a99b339bdf12153": "synthetic swirl, test",
    "8ea2a686c2920958d0a179ab84318183883a6c5fa09a77543acd4bc96f5a737b": "Fashion-MNIST, train",
    "bfa46d0ba849b1eb7a510df8b503cc6aafb349690eb74203c1ea557ad57c4a66": "Fashion-MNIST, test",
}


def _imagenet(size: int) -> dict[SplitOf, str]:
    """Both downscaled ImageNets. Their bits/dim are not comparable: the same VDM has 3.72 on old and 3.46 on new 32x32.

    The new one averages over boxes and so is smoother. Only their counts tell them apart here, so
    that other ways of scaling all of ImageNet down go by the name of the new one.
    """
    old = f"ImageNet{size}, old (downsampled_imagenet of van den Oord et al., arXiv 1601.06759)"
    new = (
        f"ImageNet{size}, new (anti-aliased; tensorflow-datasets imagenet_resized/{size}x{size}, "
        "Chrabaszcz et al., arXiv 1707.08819)"
    )
    shape = (size, size, 3)
    return {
        ("train", 1_281_149, shape): f"{old}, train",
        ("test", 49_999, shape): f"{old}, validation",
        ("train", 1_281_167, shape): f"{new}, train",
        ("test", 50_000, shape): f"{new}, validation",
    }


# Where no digest is established. The count and shape alone will not do: CIFAR-10's training images
# are as many as the validation images of the new ImageNet32, and of the same shape.
BY_COUNT = _imagenet(32) | _imagenet(64)


def sha256(images: np.ndarray) -> str:
    """Of the bytes of uint8 [N, H, W, C], in their order."""
    return hashlib.sha256(np.ascontiguousarray(images)).hexdigest()


def sha256_any_order(images: np.ndarray) -> str:
    """The same for the same images uint8 [N, H, W, C] in any order.

    SHA-256 of the text 'HxWxC', a line feed, and the images' own SHA-256 (32 bytes each), sorted.
    tensorflow-datasets shuffles what it prepares, so that an IDX file and its copy there have only
    this digest in common.
    """
    digests = sorted(hashlib.sha256(np.ascontiguousarray(image)).digest() for image in images)
    head = "x".join(map(str, images.shape[1:])) + "\n"
    return hashlib.sha256(head.encode() + b"".join(digests)).hexdigest()


def known_as(digest: str, count: int, shape: ImageShape, split: str) -> dict[str, str] | None:
    """The name of a well-known set of images, and by what it is known; None where it is not.

    Args:
      digest: `sha256_any_order` of the images. Where it is known it decides, whatever the split is called.
      count: of the images.
      shape: of one image.
      split: its name here, 'train' or 'test'.

    Returns:
      {"as": name, "by": "digest" or "count"}.
    """
    if digest in BY_DIGEST:
        return {"as": BY_DIGEST[digest], "by": "digest"}
    name = BY_COUNT.get((split, count, tuple(shape)))
    return None if name is None else {"as": name, "by": "count"}
