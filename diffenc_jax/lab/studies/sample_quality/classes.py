"""A classifier of pixels, trained on labelled images, and its predictions for samples."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy

from diffenc_jax.lab.stats.distributions import rank_sum
from diffenc_jax.lab.stats.hypotheses import Outcome
from diffenc_jax.lab.studies.sample_quality.features import flatten, subset

KERNELS = 500
MOST_FITTED = 10_000
# A classifier of pixels cannot distinguish more classes.
MOST_CLASSES = 100


class Classifier(NamedTuple):
    """Functions of uint8 [N, H, W, C] that return [N, classes]; `logits` serve as features."""

    probabilities: Callable[[np.ndarray], np.ndarray]
    logits: Callable[[np.ndarray], np.ndarray]


class Predictions(NamedTuple):
    """Predictions for samples and for unseen images.

    Attributes:
      accuracy: on the unseen images.
      shares, shares_unseen: [classes] fraction of the images that are predicted to be of each class.
      p_shares: p-value of equal shares, by χ².
      confidence, confidence_unseen: mean probability of the predicted class.
      confident: rank test of the confidence in samples against unseen images; z < 0: lower for the samples.
    """

    accuracy: float
    shares: list[float]
    shares_unseen: list[float]
    p_shares: float
    confidence: float
    confidence_unseen: float
    confident: Outcome


def train_classifier(images: np.ndarray, labels: np.ndarray) -> Classifier:
    """Logistic regression on radial kernels exp(−‖x − x_k‖²/s²) around 500 training images, s² the pixels' variance.

    Far from all of them only the intercepts remain in the logits, so that noise is not classified with confidence, as
    it is by networks. It misclassifies 2 of the 297 test digits.
    """
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    rows = subset(np.arange(len(images)), MOST_FITTED)
    pixels = flatten(images[rows])
    kernels = Nystroem(gamma=1 / pixels.var(axis=0).sum(), n_components=min(KERNELS, len(rows)), random_state=0)
    fitted = make_pipeline(kernels, LogisticRegression(C=100, max_iter=1000)).fit(pixels, labels[rows])
    return Classifier(
        lambda images: fitted.predict_proba(flatten(images)), lambda images: fitted.decision_function(flatten(images))
    )


def predict(classifier: Classifier, samples: np.ndarray, unseen: np.ndarray, labels: np.ndarray) -> Predictions:
    """Predictions for samples and for `unseen` images [N, H, W, C], whose known classes are `labels` [N], from 0."""
    theirs, real = classifier.probabilities(samples), classifier.probabilities(unseen)
    counts = np.stack([np.bincount(p.argmax(axis=1), minlength=p.shape[1]) for p in (theirs, real)])
    shares, shares_unseen = (counts / counts.sum(axis=1, keepdims=True)).tolist()
    return Predictions(
        accuracy=float(np.mean(real.argmax(axis=1) == labels)),
        shares=shares,
        shares_unseen=shares_unseen,
        p_shares=float(scipy.stats.chi2_contingency(counts[:, counts.any(axis=0)]).pvalue),
        confidence=float(theirs.max(axis=1).mean()),
        confidence_unseen=float(real.max(axis=1).mean()),
        confident=rank_sum(theirs.max(axis=1), real.max(axis=1)),
    )
