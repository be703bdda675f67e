"""A classifier of pixels, trained here, and what it sees in samples."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from diffenc_jax.sample_quality.features import flat, some
from diffenc_jax.stats.distributions import rank_sum
from diffenc_jax.stats.hypotheses import Outcome

KERNELS = 500
MOST_FITTED = 10_000
# A classifier of pixels tells no more classes apart.
MOST_CLASSES = 100


class Classifier(NamedTuple):
    """Functions of uint8 [N, H, W, C].

    Attributes:
      probabilities: [N, classes].
      logits: [N, classes], as features.
    """

    probabilities: Callable[[np.ndarray], np.ndarray]
    logits: Callable[[np.ndarray], np.ndarray]


class Seen(NamedTuple):
    """What a classifier sees in samples, and in unseen images.

    Attributes:
      accuracy: on the unseen images.
      shares, shares_unseen: [classes] the part of the images that are taken for each.
      p_shares: of the two being alike, by χ².
      confidence, confidence_unseen: mean probability of the class that an image is taken for.
      confident: the rank test of the samples' against the unseen images'; z below zero: less sure of the samples.
    """

    accuracy: float
    shares: list[float]
    shares_unseen: list[float]
    p_shares: float
    confidence: float
    confidence_unseen: float
    confident: Outcome


def train(images: np.ndarray, labels: np.ndarray) -> Classifier:
    """Logistic regression on radial kernels exp(−‖x − x_k‖²/s²) around 500 training images, s² the pixels' variance.

    What is far from all of them has only the intercepts for logits, so that noise is not taken for something with
    confidence, as it is by networks. Misclassifies 2 of the 297 digits.
    """
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = some(np.arange(len(images)), MOST_FITTED)
    pixels = flat(images[rows])
    kernels = Nystroem(gamma=1 / pixels.var(axis=0).sum(), n_components=min(KERNELS, len(rows)), random_state=0)
    fitted = make_pipeline(kernels, LogisticRegression(C=100, max_iter=1000)).fit(pixels, labels[rows])
    return Classifier(
        lambda images: fitted.predict_proba(flat(images)), lambda images: fitted.decision_function(flat(images))
    )


def look(classifier: Classifier, samples: np.ndarray, unseen: np.ndarray, labels: np.ndarray) -> Seen:
    """`labels` [N]: of the `unseen` images [N, H, W, C], from 0, and of classes that the classifier knows."""
    theirs, real = classifier.probabilities(samples), classifier.probabilities(unseen)
    counts = np.stack([np.bincount(p.argmax(axis=1), minlength=p.shape[1]) for p in (theirs, real)])
    shares, shares_unseen = (counts / counts.sum(axis=1, keepdims=True)).tolist()
    return Seen(
        float(np.mean(real.argmax(axis=1) == labels)),
        shares,
        shares_unseen,
        float(scipy.stats.chi2_contingency(counts[:, counts.any(axis=0)]).pvalue),
        float(theirs.max(axis=1).mean()),
        float(real.max(axis=1).mean()),
        rank_sum(theirs.max(axis=1), real.max(axis=1)),
    )
