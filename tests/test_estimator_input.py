"""fastbp.estimator: what is refused, in words, before it would train or predict something else."""

import copy
import operator
import re

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier, MLPRegressor

from fastbp.estimator import NetworkClassifier, NetworkRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(1)
X = RNG.normal(size=(60, 6))
Y_REAL, Y_LABELS, Y_CLASSES = X @ np.arange(6), (X[:, :3] > 0).astype(int), np.arange(60) % 3
HOW = dict(hidden_layer_sizes=5, max_iter=5, random_state=0)


def assert_same_parameters(a, b):
    for one, other in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_array_equal(one, other)


# ------------------------------------------------ scores and validation data


def test_r2_needs_two_samples_to_stop_by():
    network = NetworkRegressor(early_stopping=True, **HOW)
    with pytest.raises(ValueError, match=r"has 1 sample of validation data.* R2 needs 2"):
        network.fit(X, Y_REAL, eval_set=(X[:1], Y_REAL[:1]))
    with pytest.raises(ValueError, match=r"has 1 sample of validation data.* R2 needs 2"):
        network.fit(X[:2], Y_REAL[:2])
    for advice in (None, (X[:2], Y_REAL[:2])):
        assert len(network.fit(X, Y_REAL, eval_set=advice).validation_scores_) == 5


@pytest.mark.parametrize("loss", [True, False])
def test_scores_of_nan_count_less_than_others(loss, monkeypatch):
    """Without any other score the weights are those of the least loss, never those of before."""
    monkeypatch.setattr(NetworkRegressor, "_score", lambda *args: np.nan)
    if not loss:
        monkeypatch.setattr("fastbp.estimators.base.mean_cost", lambda *args: np.nan)
    network = NetworkRegressor(early_stopping=True, **HOW).fit(X, Y_REAL, eval_set=(X, Y_REAL))
    wanted = NetworkRegressor(**HOW).set_params(max_iter=5 if loss else 1).fit(X, Y_REAL)
    assert_same_parameters(network, wanted)
    assert np.isnan(network.best_validation_score_)
    scores = iter([np.nan, 0.5, np.nan, 0.25, np.nan])
    monkeypatch.setattr(NetworkRegressor, "_score", lambda *args: next(scores))
    network.fit(X, Y_REAL, eval_set=(X, Y_REAL))
    assert_same_parameters(network, NetworkRegressor(**HOW).set_params(max_iter=2).fit(X, Y_REAL))
    assert network.best_validation_score_ == 0.5


def test_errors_of_an_eval_set_name_it():
    with pytest.raises(ValueError, match=r"eval_set: y has 2 column\(s\), expected 1"):
        NetworkRegressor(**HOW).fit(X, Y_REAL, eval_set=(X, np.c_[Y_REAL, Y_REAL]))
    with pytest.raises(ValueError, match="eval_set: X has 5 features"):
        NetworkRegressor(**HOW).fit(X, Y_REAL, eval_set=(X[:, :5], Y_REAL))


# ------------------------------------------------ labels and their weights


@pytest.mark.parametrize("encode", [lambda Y: Y + 1, lambda Y: 5 * Y, lambda Y: 2 * Y - 1])
def test_several_labels_are_rows_of_0_and_1(encode):
    network = NetworkClassifier(**HOW)
    with pytest.raises(ValueError, match=r"y has -?\d at \[\d+, \d\], expected rows of 0 and 1"):
        network.fit(X, encode(Y_LABELS))
    with pytest.raises(ValueError, match=r"eval_set: y has .* expected rows of 0 and 1"):
        network.fit(X, Y_LABELS, eval_set=(X, encode(Y_LABELS)))
    assert_same_parameters(
        clone(network).fit(X, Y_LABELS), clone(network).fit(X, Y_LABELS.astype(bool))
    )


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_class_weights_are_checked(weight):
    network = NetworkClassifier(class_weight={0: weight, 1: 1.0, 2: 1.0}, **HOW)
    with pytest.raises(ValueError, match=r"class_weight gives samples weights from .*negative"):
        network.fit(X, Y_CLASSES)
    with pytest.raises(ValueError, match=r"sample_weight gives samples weights from 1e\+308"):
        NetworkClassifier(**HOW).fit(X, Y_CLASSES, np.full(60, 1e308))


def test_the_first_partial_fit_needs_classes():
    with pytest.raises(ValueError, match="classes is empty, expected all labels"):
        NetworkClassifier(**HOW).partial_fit(X, Y_CLASSES, classes=[])


def test_images_are_deformed_alike_for_integers_of_any_type():
    images, labels = RNG.random((40, 64)), np.array([1, 5])[np.arange(40) % 2]
    network = NetworkClassifier(deform=dict(rotation=30), **HOW)
    forms = [labels.astype(dtype) for dtype in (np.float64, np.float32, np.uint8, str)]
    for form in (*forms, forms[-1].astype(object)):
        other = clone(network).fit(images, form)
        assert_same_parameters(other, clone(network).fit(images, labels))


@pytest.mark.parametrize("n", [4, 30])
def test_text_is_no_class_that_is_a_number(n):
    """NumPy compares them as text where there are many classes."""
    y, X = np.array(["0", "1", "2", "3"]), np.arange(8.0).reshape(4, 2)
    network = NetworkClassifier(random_state=0)
    with pytest.raises(ValueError, match="y has the classes \\['0', '1', '2', '3'\\], expected"):
        network.partial_fit(X, y, classes=np.arange(n))


@pytest.mark.parametrize("estimator", [NetworkClassifier, NetworkRegressor])
@pytest.mark.parametrize("activation", ["logistic", "relu"])
def test_first_weights_without_hidden_layers(estimator, activation):
    peer = MLPClassifier if estimator is NetworkClassifier else MLPRegressor
    X, y = np.random.default_rng(0).standard_normal((50, 4)), np.arange(50) % 2
    how = dict(
        hidden_layer_sizes=(), activation=activation, solver="sgd", learning_rate_init=1e-12,
        max_iter=1, random_state=1, batch_size=10,
    )  # fmt: skip
    ours, theirs = estimator(**how).fit(X, y), peer(**how).fit(X, y)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-6)


@pytest.mark.parametrize("weight", [0.01, 10.0])
def test_the_loss_of_a_sample_of_probability_0_has_its_weight(weight):
    """A wrong answer that is certain counts as one of the smallest number above 0."""
    X, y = np.array([[1e4], [-1e4], [1.0]]), np.array([0, 0, 1])
    network = NetworkClassifier((), solver="sgd", learning_rate_init=1e-12, batch_size=3,
                                max_iter=1, alpha=0.0, random_state=0)  # fmt: skip
    network.fit(X, y)
    weights = np.array([weight, weight, 1.0])
    certain = np.flatnonzero(X[:, 0] * network.coefs_[0][0, 0] > 1e3)
    assert len(certain) == 1
    network.fit(X, y, sample_weight=weights)
    most = -np.log(np.finfo(np.float64).tiny)
    z = network.coefs_[0][0, 0] + network.intercepts_[0][0]
    wanted = (weight * most + np.log1p(np.exp(-z))) / weights.sum()
    assert network.loss_ == pytest.approx(wanted, rel=1e-6)


# ------------------------------------------------ damaged sparse arrays


def _set(attribute, index, value):
    def damage(matrix):
        getattr(matrix, attribute)[index] = value

    return damage


def _no_entries(matrix):
    matrix.indptr[:] = 0
    matrix.indptr[3] = 10**6


@pytest.mark.parametrize(
    ("container", "damage"),
    [
        (sparse.csr_array, _set("indices", 3, 7)),
        (sparse.csr_array, _set("indices", 3, 2**31 - 1)),
        (sparse.csr_matrix, _set("indices", 3, -1)),
        (sparse.csr_array, _set("indptr", 2, 10**6)),
        (sparse.csr_array, _set("indptr", -1, 10**6)),
        (sparse.csr_array, _no_entries),
        (sparse.csc_array, _set("indices", 3, 10**6)),
        (sparse.coo_array, _set("col", 3, 10**6)),
    ],
)
def test_damaged_sparse_arrays(container, damage):
    """They would crash the process."""
    damaged, network = container(X), NetworkRegressor(**HOW)
    damage(damaged)
    before = copy.deepcopy(vars(damaged))
    fitted = clone(network).fit(X, Y_REAL)
    for call in (
        lambda: network.fit(damaged, Y_REAL),
        lambda: network.partial_fit(damaged, Y_REAL),
        lambda: network.fit(X, Y_REAL, eval_set=(damaged, Y_REAL)),
        lambda: fitted.predict(damaged),
        lambda: network.fit(X, damaged),
    ):
        with pytest.raises(ValueError, match=r"^(eval_set: )?[Xy] is a damaged sparse array: \w+"):
            call()
    np.testing.assert_equal(vars(damaged), before)


# ------------------------------------------------ fitted attributes that were changed


def _replaced(name, convert):
    return lambda network: setattr(network, name, convert(getattr(network, name)))


CHANGES = {
    r"coefs_\[0\] is nan at \[0, 0\], expected finite": _set("coefs_", 0, np.full((6, 5), np.nan)),
    r"intercepts_\[1\] is inf at \[0\], expected": _set("intercepts_", 1, np.full(3, np.inf)),
    r"coefs_\[0\] has dtype complex128": _set("coefs_", 0, 1j * np.eye(6, 5)),
    r"coefs_\[0\] has shape \(6, 0\), expected": _set("coefs_", 0, np.zeros((6, 0))),
    r"coefs_\[0\] has shape \(30,\), expected \(n_in, n_out\)": _set("coefs_", 0, np.zeros(30)),
    r"coefs_\[1\] has shape \(4, 3\), expected \(5, 3\)": _set("coefs_", 1, np.zeros((4, 3))),
    r"intercepts_\[0\] has shape \(5, 1\), exp": _set("intercepts_", 0, np.zeros((5, 1))),
    r"coefs_ has 1 arrays, intercepts_ has 2": _replaced("coefs_", lambda arrays: arrays[:1]),
    r"coefs_ is \[\] ": _replaced("coefs_", lambda arrays: []),
    r"coefs_ is None ": _replaced("coefs_", lambda arrays: None),
    r"intercepts_ is None ": operator.methodcaller("__delattr__", "intercepts_"),
    r"sizes \(7, 5, 3\), expected": _set("coefs_", 0, np.zeros((7, 5))),
}  # fmt: skip


@pytest.mark.parametrize("message", CHANGES)
def test_changed_attributes_are_checked(message):
    network = NetworkClassifier(warm_start=True, **HOW).fit(X, Y_CLASSES)
    CHANGES[message](network)
    for call in (
        lambda: network.predict_proba(X),
        lambda: network.fit(X, Y_CLASSES),
        lambda: network.partial_fit(X, Y_CLASSES),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            call()
    network.set_params(warm_start=False).fit(X, Y_CLASSES).predict(X)


@pytest.mark.parametrize(
    "convert", [lambda w: w.tolist(), lambda w: np.round(w).astype(int), np.float16, ">f8"]
)
def test_attributes_of_other_types_are_their_numbers(convert):
    network = NetworkClassifier(**HOW).fit(X, Y_CLASSES)
    convert = operator.methodcaller("astype", convert) if isinstance(convert, str) else convert
    network.coefs_ = [convert(w) for w in network.coefs_]
    other = copy.deepcopy(network)
    other.coefs_ = [np.array(w, dtype=np.float64) for w in network.coefs_]
    np.testing.assert_array_equal(network.predict_proba(X), other.predict_proba(X))
    for each in (network, other):
        each.partial_fit(X, Y_CLASSES)
    assert_same_parameters(network, other)


# ------------------------------------------------ extreme parameters


def test_a_learning_rate_that_is_scaled_to_nothing():
    rates = []
    NetworkClassifier(
        solver="sgd", learning_rate="invscaling", power_t=1e9,
        callback=lambda figures: rates.append(figures["eta"]), **HOW,
    ).fit(X, Y_CLASSES)  # fmt: skip
    assert rates == [1e-3, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("how", "weight", "cause"),
    [
        (dict(alpha=1e300), 1, "alpha=1e+300 may be too large for mini-batches of the weight 32,"),
        (dict(alpha=1e300, solver="sgd"), 1, "alpha=1e+300 may be too large for mini-batches"),
        (dict(), 1e-320, "alpha=0.0001 may be too large for mini-batches of the weight 3.1999"),
        (
            dict(learning_rate=lambda epoch, epochs: 1e300), 1,
            "the learning rate 1e+297 may be too large, which learning_rate makes of "
            "learning_rate_init=0.001",
        ),
        (dict(learning_rate_init=1e200, solver="sgd"), 1, "learning_rate_init=1e+200 may be too"),
    ],
)  # fmt: skip
def test_the_causes_of_divergence(how, weight, cause):
    with pytest.raises(FloatingPointError, match=re.escape(f": {cause}")):
        NetworkClassifier(**how, **HOW).fit(X, Y_CLASSES, np.full(60, weight))
