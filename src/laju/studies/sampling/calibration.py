"""Scores of predicted class probabilities: accuracy, negative log-likelihood, Brier score and calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Equal bins of confidence, as in Guo et al., arXiv 1706.04599."""
_DRAWS = 200

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """Predictions in equal bins of confidence, the probability of the predicted class.

    Attributes:
        counts: predictions of each bin, of shape (bins,).
        confidence: sum of the confidences of each bin, of shape (bins,).
        correct: correct predictions of each bin, of shape (bins,).
    """

    counts: Floats
    confidence: Floats
    correct: Floats

    @classmethod
    def of(cls, confidence: Floats, correct: NDArray[np.bool_], bins: int = BINS) -> Reliability:
        """Sort predictions into bins; bin k of n holds confidences in [k/n, (k + 1)/n), and the last bin holds 1, too."""
        bin_of = np.minimum((confidence * bins).astype(np.int64), bins - 1)
        weights = (None, confidence, correct.astype(float))
        return cls(*(np.bincount(bin_of, weights=w, minlength=bins).astype(float) for w in weights))

    @property
    def error(self) -> float:
        """The expected calibration error: Σ_k n_k/N · |accuracy of bin k - mean confidence of bin k|."""
        return float(np.abs(self.correct - self.confidence).sum() / self.counts.sum())

    def __add__(self, other: Reliability) -> Reliability:
        return Reliability(self.counts + other.counts, self.confidence + other.confidence, self.correct + other.correct)


@dataclass(frozen=True)
class Scores:
    """Scores of predicted probabilities on labelled examples.

    Attributes:
        accuracy: share of examples whose most probable class is their label.
        nll: negative log-likelihood, the mean of -ln p(label), in nats.
        calibration_error: expected calibration error, see `Reliability.error`.
        brier: Brier score, the mean of Σ_c (p_c - [c = label])², between 0 and 2.
        error_by_chance: mean calibration error of a perfectly calibrated predictor with the same confidences on as many
            examples; an error of this size is no sign of bad calibration.
        reliability: the predictions in bins of confidence.
    """

    accuracy: float
    nll: float
    calibration_error: float
    brier: float
    error_by_chance: float
    reliability: Reliability

    @classmethod
    def of(cls, probabilities: Floats, labels: NDArray[np.int64]) -> Scores:
        """Score the probabilities (examples, classes) of examples with the labels (examples,).

        Raises:
            ValueError: shapes that do not match, or rows that are not probabilities.

        >>> scores = Scores.of(np.array([[0.9, 0.1], [0.4, 0.6]]), np.array([0, 0]))
        >>> scores.accuracy, round(scores.nll, 3), round(scores.calibration_error, 3), round(scores.brier, 3)
        (0.5, 0.511, 0.35, 0.37)
        """
        if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not labels.size:
            raise ValueError(
                "probabilities must have a shape (examples, classes) with a label for each example, got "
                f"{probabilities.shape} and {labels.shape}"
            )
        if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(axis=1), 1):
            raise ValueError("probabilities must be at least 0 and sum to 1 for each example")
        at_label = probabilities[np.arange(len(labels)), labels]
        confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
        reliability = Reliability.of(confidence, correct)
        # Labels drawn from the confidences themselves: the same numbers in every run.
        drawn = np.random.default_rng(0).random((_DRAWS, len(labels))) < confidence
        return cls(
            accuracy=float(correct.mean()),
            # A probability that has underflowed to 0 would make the whole mean infinite.
            nll=float(-np.log(np.maximum(at_label, np.finfo(float).tiny)).mean()),
            calibration_error=reliability.error,
            brier=float(((probabilities**2).sum(axis=1) - 2 * at_label + 1).mean()),
            error_by_chance=float(np.mean([Reliability.of(confidence, each).error for each in drawn])),
            reliability=reliability,
        )
