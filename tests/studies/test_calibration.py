"""Scores of probabilities are those of scikit-learn, and of examples worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from laju.studies.sampling.calibration import BINS, Reliability, Scores


def predictions(seed: int, examples: int = 300, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of all shapes, and labels that follow them now and then."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(examples, classes)) * random.uniform(0.1, 4, (examples, 1))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.where(
        random.random(examples) < 0.6, probabilities.argmax(axis=1), random.integers(0, classes, examples)
    )
    return probabilities, labels


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_scikit_learn(seed: int) -> None:
    probabilities, labels = predictions(seed)
    scores = Scores.of(probabilities, labels)
    classes = range(probabilities.shape[1])
    assert scores.accuracy == accuracy_score(labels, probabilities.argmax(axis=1))
    assert scores.nll == pytest.approx(log_loss(labels, probabilities, labels=classes), rel=1e-12)
    brier = brier_score_loss(labels, probabilities, labels=classes, scale_by_half=False)
    assert scores.brier == pytest.approx(brier, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_bins_are_those_of_scikit_learn_and_the_error_is_their_weighted_distance(seed: int) -> None:
    probabilities, labels = predictions(seed)
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    reliability = Scores.of(probabilities, labels).reliability
    there = reliability.counts > 0
    accuracy, mean = calibration_curve(correct, confidence, n_bins=BINS, strategy="uniform")
    np.testing.assert_allclose(reliability.correct[there] / reliability.counts[there], accuracy)
    np.testing.assert_allclose(reliability.confidence[there] / reliability.counts[there], mean)
    expected = np.average(np.abs(accuracy - mean), weights=reliability.counts[there])
    assert reliability.error == pytest.approx(expected, rel=1e-12)


def test_an_example_by_hand() -> None:
    probabilities = np.array([[0.95, 0.05], [0.97, 0.03], [0.2, 0.8], [0.45, 0.55]])
    scores = Scores.of(probabilities, np.array([0, 1, 1, 1]))
    # Of 15 bins the first two fall into the last, with an accuracy of 1/2 for a confidence of .96; the others are right.
    assert scores.calibration_error == pytest.approx((2 * 0.46 + 0.2 + 0.45) / 4)
    assert scores.accuracy == 0.75
    assert scores.nll == pytest.approx(-np.log([0.95, 0.03, 0.8, 0.55]).mean())
    assert scores.brier == pytest.approx(2 * np.mean([0.05**2, 0.97**2, 0.2**2, 0.45**2]))


def test_bins_begin_at_their_lower_edge_and_the_last_one_holds_certainty() -> None:
    counts = Reliability.of(np.array([0.0, 0.25, 0.5, 0.999, 1.0]), np.zeros(5, dtype=bool), bins=4).counts
    assert counts.tolist() == [1, 1, 1, 2]


def test_bins_of_several_runs_add_up_to_those_of_all_their_predictions() -> None:
    first, second = predictions(0), predictions(1)
    both = [np.concatenate(parts) for parts in zip(first, second, strict=True)]
    added = Scores.of(*first).reliability + Scores.of(*second).reliability
    for name, values in vars(Scores.of(*both).reliability).items():
        np.testing.assert_allclose(getattr(added, name), values)


def test_the_error_by_chance_is_that_of_labels_drawn_from_the_probabilities() -> None:
    probabilities, _ = predictions(3, examples=200)
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(400):
        labels = (probabilities.cumsum(axis=1) > random.random((200, 1))).argmax(axis=1)
        drawn.append(Scores.of(probabilities, labels).calibration_error)
    by_chance = Scores.of(probabilities, labels).error_by_chance
    assert by_chance == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) * (1 / 400 + 1 / 200) ** 0.5)


@given(st.integers(0, 2**32), st.integers(2, 5))
def test_an_ensemble_is_never_worse_than_its_members_in_the_mean(seed: int, members: int) -> None:
    """Jensen's inequality, for the two scores that are proper."""
    sets = [predictions(seed + i, examples=20, classes=4)[0] for i in range(members)]
    labels = predictions(seed, examples=20, classes=4)[1]
    ensemble, singles = Scores.of(np.mean(sets, axis=0), labels), [Scores.of(each, labels) for each in sets]
    assert ensemble.nll <= np.mean([each.nll for each in singles]) + 1e-12
    assert ensemble.brier <= np.mean([each.brier for each in singles]) + 1e-12


def test_a_probability_of_zero_for_the_label_leaves_the_likelihood_finite() -> None:
    assert Scores.of(np.array([[1.0, 0.0]]), np.array([1])).nll == pytest.approx(708.4, abs=0.1)


@pytest.mark.parametrize(
    ("probabilities", "labels", "said"),
    [
        ([[0.5, 0.6]], [0], "sum to 1"),
        ([[1.5, -0.5]], [0], "at least 0"),
        ([[0.5, 0.5]], [0, 1], r"got \(1, 2\) and \(2,\)"),
        (np.ones((0, 2)), [], r"got \(0, 2\)"),
    ],
)
def test_what_is_no_probability_is_refused(probabilities: object, labels: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Scores.of(np.asarray(probabilities, dtype=float), np.asarray(labels, dtype=np.int64))
