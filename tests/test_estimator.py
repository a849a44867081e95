"""fastbp.estimator: scikit-learn's checks and conventions, with its MLPs as the oracle."""

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import threading
import warnings

import joblib
import numpy as np
import pytest
from scipy import sparse
from sklearn import datasets, model_selection
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastbp import schedules
from fastbp.estimator import NetworkClassifier, NetworkRegressor
from fastbp.estimators import figures
from fastbp.estimators.validation_split import held_out, row_hashes

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ESTIMATORS = NetworkClassifier, NetworkRegressor
PEERS = {NetworkClassifier: MLPClassifier, NetworkRegressor: MLPRegressor}
ACTIVATIONS = "identity", "logistic", "tanh", "relu"


@pytest.fixture(scope="module")
def iris():
    X, y = datasets.load_iris(return_X_y=True)
    return StandardScaler().fit_transform(X), y


@pytest.fixture(scope="module")
def digits():
    """Return 200 digits 0 and 1, in 0..1."""
    X, y = datasets.load_digits(n_class=2, return_X_y=True)
    return X[:200] / 16, y[:200]


def assert_same_parameters(a, b, **tolerance):
    for one, other in zip([*a.coefs_, *a.intercepts_], [*b.coefs_, *b.intercepts_], strict=True):
        np.testing.assert_allclose(one, other, **tolerance)


# ------------------------------------------------ scikit-learn's checks


@parametrize_with_checks(
    [
        NetworkClassifier(solver="sgd", early_stopping=True, learning_rate_init=0.1),
        NetworkRegressor(max_iter=50),
    ]
)
def test_checks_of_sklearn(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(
    [
        NetworkClassifier(),
        NetworkClassifier(activation="tanh", dtype=np.float64, n_jobs=2),
        NetworkRegressor(early_stopping=True),
        NetworkRegressor(solver="sgd", early_stopping=True, activation="logistic"),
    ]
)
def test_checks_of_sklearn_for_more_parameters(estimator, check):
    check(estimator)


# ------------------------------------------------ the same numbers as scikit-learn's


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_numbers_of_mlp_classifier(iris, activation, n_classes):
    """From the same seed, with mini-batches, momentum and L2, after 20 epochs."""
    X, y = iris[0], np.minimum(iris[1], n_classes - 1)
    how = dict(
        hidden_layer_sizes=(7, 5), activation=activation, solver="sgd", batch_size=50, alpha=0.3,
        max_iter=20, random_state=3, learning_rate_init=0.05, n_iter_no_change=20,
    )  # fmt: skip
    ours, peer = NetworkClassifier(**how).fit(X, y), MLPClassifier(**how).fit(X, y)
    assert_same_parameters(ours, peer, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(ours.predict_proba(X), peer.predict_proba(X), rtol=1e-8)
    np.testing.assert_array_equal(ours.predict(X), peer.predict(X))
    np.testing.assert_allclose(ours.loss_curve_, peer.loss_curve_, rtol=0.05)  # L2 is older
    assert ours.t_ == peer.t_
    assert ours.out_activation_ == peer.out_activation_
    assert (ours.n_layers_, ours.n_outputs_) == (peer.n_layers_, peer.n_outputs_)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_losses_of_full_batches(iris, estimator, solver):
    """Adam adds epsilon to another root, so it agrees less."""
    X, y = iris
    how = dict(hidden_layer_sizes=6, solver=solver, batch_size=150, alpha=0.3, max_iter=15)
    how |= dict(random_state=8, momentum=0.5, nesterovs_momentum=False)
    ours, peer = estimator(**how).fit(X, y), PEERS[estimator](**how).fit(X, y)
    np.testing.assert_allclose(
        ours.loss_curve_, peer.loss_curve_, rtol=1e-10 if solver == "sgd" else 1e-4
    )
    assert ours.best_loss_ == min(ours.loss_curve_)
    assert ours.loss_ == ours.loss_curve_[-1]


def test_several_labels_and_several_outputs(rng):
    X, Y = datasets.make_multilabel_classification(60, random_state=0)
    X = StandardScaler().fit_transform(X)
    how = dict(solver="sgd", max_iter=30, batch_size=60, random_state=0, learning_rate_init=0.1)
    ours, peer = NetworkClassifier(**how).fit(X, Y), MLPClassifier(**how).fit(X, Y)
    assert_same_parameters(ours, peer, rtol=1e-8, atol=1e-12)
    np.testing.assert_array_equal(ours.predict(X), peer.predict(X))
    np.testing.assert_allclose(ours.predict_log_proba(X), peer.predict_log_proba(X), rtol=1e-8)
    assert ours.fit(X, sparse.csr_array(Y)).score(X, Y) == peer.score(X, Y)

    Y = rng.normal(size=(60, 3))
    how |= dict(learning_rate_init=0.01)
    ours, peer = NetworkRegressor(**how).fit(X, Y), MLPRegressor(**how).fit(X, Y)
    np.testing.assert_allclose(ours.predict(X), peer.predict(X), rtol=1e-8)
    np.testing.assert_allclose(ours.loss_curve_, 3 * np.array(peer.loss_curve_), rtol=1e-2)


def test_the_hand_worked_fit():
    """The example of scikit-learn's test_mlp, worked out there step by step."""
    X, y = np.array([[0.6, 0.8, 0.7]]), np.array([0])
    network = NetworkClassifier(
        2, solver="sgd", learning_rate_init=0.1, alpha=0.1, activation="logistic", momentum=0
    )
    network.partial_fit(X, y, classes=[0, 1])
    network.coefs_ = [np.array([[0.1, 0.2], [0.3, 0.1], [0.5, 0]]), np.array([[0.1], [0.2]])]
    network.intercepts_ = [np.array([0.1, 0.1]), np.array([1.0])]
    network.partial_fit(X, y)
    w1, w2 = network.coefs_
    wanted = [[0.098, 0.195756], [0.2956664, 0.096008], [0.4939998, -0.002244]]
    np.testing.assert_allclose(w1, wanted, atol=1e-3)
    np.testing.assert_allclose(w2, [[0.04706], [0.154089]], atol=1e-3)
    np.testing.assert_allclose(network.intercepts_[0], [0.098333, 0.09626], atol=1e-3)
    np.testing.assert_allclose(network.intercepts_[1], [0.9235], atol=1e-3)
    np.testing.assert_allclose(network.predict_proba(X)[0, 1], 0.739, atol=1e-3)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_step_is_the_gradient_of_the_loss(activation, n_classes):
    """Finite differences of loss_, which is measured before the step."""
    rng = np.random.RandomState(42)
    X, y = rng.rand(5, 4), np.arange(5) % n_classes
    weights, eta, h = rng.rand(5) + 0.1, 1e-3, 1e-5

    def loss_and_step(coefs, intercepts):
        network = clone(start)
        network.partial_fit(X, y, classes=np.unique(y))
        network.coefs_, network.intercepts_ = coefs, intercepts
        network.partial_fit(X, y, sample_weight=weights)
        return network.loss_, network.coefs_

    start = NetworkClassifier(
        3, solver="sgd", momentum=0, alpha=0.7, learning_rate_init=eta, activation=activation,
        random_state=1,
    )  # fmt: skip
    fitted = clone(start).partial_fit(X, y, classes=np.unique(y))
    _, after = loss_and_step(fitted.coefs_, fitted.intercepts_)
    for l, place in [(0, (0, 0)), (0, (3, 2)), (1, (2, 0))]:
        losses = []
        for side in (h, -h):
            coefs = [w.copy() for w in fitted.coefs_]
            coefs[l][place] += side
            losses.append(loss_and_step(coefs, fitted.intercepts_)[0])
        gradient = (fitted.coefs_[l][place] - after[l][place]) / eta
        np.testing.assert_allclose(gradient, (losses[0] - losses[1]) / (2 * h), rtol=1e-5)


# ------------------------------------------------ going on


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("how", [dict(solver="sgd"), dict(solver="adam", dropout=0.2)])
def test_partial_fit_and_warm_start_are_one_fit(iris, estimator, how):
    """To the bit: optimizer, order of samples and masks of dropout go on."""
    X, y = iris
    how |= dict(hidden_layer_sizes=9, batch_size=20, random_state=1)
    whole = estimator(max_iter=6, **how).fit(X, y)
    parts, warm = estimator(**how), estimator(max_iter=3, warm_start=True, **how)
    classes = {"classes": np.unique(y)} if estimator is NetworkClassifier else {}
    for _ in range(6):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, y, **classes)))
    warm.fit(X, y).fit(X, y)
    for other in (parts, warm):
        assert_same_parameters(whole, other, rtol=0)
        assert other.loss_curve_ == whole.loss_curve_
        assert other.t_ == whole.t_ == 900
    assert (whole.n_iter_, warm.n_iter_, parts.n_iter_) == (6, 3, 1)


def test_partial_fit_has_the_classes_of_its_first_call():
    network = NetworkClassifier(random_state=0)
    with pytest.raises(ValueError, match="classes is None"):
        network.partial_fit([[1], [2]], ["a", "b"])
    network.partial_fit([[1], [2], [3]], ["a", "b", "c"], classes=["a", "b", "c", "d"])
    network.partial_fit([[4]], ["d"])
    assert network.predict_proba([[4]]).shape == (1, 4)
    with pytest.raises(ValueError, match="expected the same as in the first call"):
        network.partial_fit([[4]], ["d"], classes=["a", "d"])
    with pytest.raises(ValueError, match="expected classes of"):
        network.partial_fit([[4]], ["e"])
    with pytest.raises(ValueError, match="'balanced'"):
        NetworkClassifier(class_weight="balanced").partial_fit([[1], [2]], [0, 1], classes=[0, 1])
    balanced = compute_class_weight("balanced", classes=np.arange(2), y=[0, 1, 1])
    by_class = NetworkClassifier(class_weight=dict(enumerate(balanced)), random_state=0)
    by_class.partial_fit([[1], [2], [3]], [0, 1, 1], classes=[0, 1])
    whole = NetworkClassifier(class_weight="balanced", random_state=0, max_iter=1)
    assert_same_parameters(by_class, whole.fit([[1], [2], [3]], [0, 1, 1]), rtol=0)
    assert not hasattr(NetworkClassifier(early_stopping=True), "partial_fit")


def test_warm_start_needs_the_same_classes_and_sizes(iris):
    X, y = iris
    network = NetworkClassifier(5, max_iter=2, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"warm_start goes on with the same classes"):
        network.fit(X, np.minimum(y, 1))
    with pytest.raises(ValueError, match=r"sizes \(4, 5, 3\), expected \(4, 6, 3\)"):
        network.set_params(hidden_layer_sizes=6).fit(X, y)
    assert network.set_params(warm_start=False).fit(X, y).coefs_[0].shape == (4, 6)


def test_a_warm_start_has_the_best_weights_of_its_own_validation_data(rng):
    """A score on other data, which this call cannot reach, is not what its epochs have to beat."""
    X, noise = rng.standard_normal((300, 5)), rng.random(300)
    y = (X[:, 0] > 0).astype(int)
    noisy = np.where(noise < 0.2, 1 - y, y)
    network = NetworkClassifier(
        20, early_stopping=True, warm_start=True, random_state=1, max_iter=40,
        learning_rate_init=0.01,
    )  # fmt: skip
    easy = np.abs(X[:, 0]) > 1
    network.fit(X, y, eval_set=(X[easy], y[easy]))
    before, n, first = (
        network.best_validation_score_,
        len(network.validation_scores_),
        network.coefs_,
    )
    assert before > 0.95
    network.fit(X, noisy, eval_set=(X, noisy))
    best = max(network.validation_scores_[n:])
    assert best < before
    assert network.score(X, noisy) == best
    assert (network.coefs_[0] != first[0]).any()


def test_a_warm_start_without_an_improvement_keeps_its_first_weights(iris):
    network = NetworkClassifier(
        9, early_stopping=True, warm_start=True, random_state=1, max_iter=30,
        learning_rate_init=0.02,
    ).fit(*iris, eval_set=iris)  # fmt: skip
    before = clone(network).fit(*iris, eval_set=iris)
    assert_same_parameters(network, before, rtol=0)
    network.set_params(learning_rate_init=1e6, max_iter=1).fit(*iris, eval_set=iris)
    assert network.validation_scores_[-1] < before.score(*iris)
    assert_same_parameters(network, before, rtol=0)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_refused_arguments_change_nothing(method, rng):
    """Other classes on the old weights would be wrong answers."""
    X = rng.standard_normal((60, 3))
    y = np.array(["a", "b"])[(X[:, 0] > 0).astype(int)]
    network = NetworkClassifier(5, max_iter=5, random_state=0)
    more = {} if method == "fit" else {"classes": ["a", "b", "c"]}
    with pytest.raises(ValueError, match=r"has -1\.0, expected no neg"):
        getattr(network, method)(X, y, sample_weight=-np.ones(60), **more)
    assert not hasattr(network, "classes_")
    more = {} if method == "fit" else {"classes": ["a", "b"]}
    getattr(network, method)(X, y, **more)
    wanted = network.predict(X)
    with pytest.raises(ValueError, match="eval_set"):
        network.fit(X, np.where(y == "a", "z", "c"), eval_set=(X, y))
    assert (network.predict(X) == wanted).all()


# ------------------------------------------------ when training ends


def test_training_ends_without_improvement(digits):
    for count in (2, 5, 10):
        network = NetworkClassifier(
            solver="sgd", tol=0.01, n_iter_no_change=count, max_iter=3000, batch_size=200
        ).fit(*digits)
        assert count < network.n_iter_ < 3000
        losses = network.loss_curve_
        assert min(losses[: -count - 1]) - min(losses[-count - 1 :]) < 0.01 * (count + 1)
    network.set_params(n_iter_no_change=np.inf, tol=1e9, max_iter=40).fit(*digits)
    assert network.n_iter_ == 40


def test_a_warning_where_max_iter_comes_first(iris):
    with pytest.warns(ConvergenceWarning, match="max_iter=2 epochs are done") as record:
        NetworkClassifier(max_iter=2).fit(*iris)
    assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        NetworkClassifier().partial_fit(*iris, classes=[0, 1, 2])
        NetworkClassifier(callback=lambda figures: True).fit(*iris)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_early_stopping_restores_the_best_weights(digits, estimator):
    X, y = digits
    network = estimator(
        20, early_stopping=True, tol=0.05, n_iter_no_change=3, max_iter=3000, random_state=0
    ).fit(X[:150], y[:150], eval_set=(X[150:], y[150:]))
    assert network.n_iter_ < 3000
    assert network.best_loss_ is None
    assert network.best_validation_score_ == max(network.validation_scores_)
    np.testing.assert_allclose(network.score(X[150:], y[150:]), network.best_validation_score_)
    for curve in (network.loss_curve_, network.validation_scores_, network.validation_loss_curve_):
        assert len(curve) == network.n_iter_
    network.fit(X, y)  # held-out samples
    assert len(network.validation_scores_) == network.n_iter_
    assert network.t_ < network.n_iter_ * 200
    network.set_params(early_stopping=False, max_iter=2).fit(X, y)
    assert network.validation_scores_ is network.best_validation_score_ is None
    assert network.validation_loss_curve_ is None


def test_an_eval_set_without_early_stopping_is_only_measured(iris):
    X, y = iris
    seen = []
    network = NetworkClassifier(max_iter=3, random_state=0, callback=seen.append)
    with_eval_set = clone(network).fit(X[::2], y[::2], eval_set=(X[1::2], y[1::2]))
    seen_callback = network.set_params(callback=None).fit(X[::2], y[::2])
    assert_same_parameters(with_eval_set, seen_callback, rtol=0)
    proba = with_eval_set.predict_proba(X[1::2])
    loss = -np.log(proba[np.arange(75), y[1::2]]).mean()
    np.testing.assert_allclose(with_eval_set.validation_loss_curve_[-1], loss)
    with pytest.raises(TypeError, match="eval_set"):
        network.fit(X, y, eval_set=X)
    with pytest.raises(ValueError, match=r"y has the classes \[7\]"):
        network.fit(X, y, eval_set=(X, np.full(150, 7)))


def test_callbacks_lines_and_progress(iris, capsys):
    seen = []
    network = NetworkClassifier(
        max_iter=3, verbose=True, progress=True, callback=[seen.append, lambda f: f["epoch"] == 1]
    ).fit(*iris, eval_set=iris)
    assert network.n_iter_ == 2
    assert [figures["loss"] for figures in seen] == network.loss_curve_
    assert list(seen[1]) == [
        "epoch", "epochs", "eta", "samples", "loss", "validation_loss", "validation_score",
        "seconds",
    ]  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == (
        f"Epoch 1: loss {seen[1]['loss']:.6g}, validation loss {seen[1]['validation_loss']:.6g}, "
        f"validation score {seen[1]['validation_score']:.6g}"
    )


def test_ctrl_c_keeps_what_was_learned(iris):
    def interrupt(figures):
        if figures["epoch"] == 2:
            raise KeyboardInterrupt

    network = NetworkClassifier(callback=interrupt, random_state=0)
    with pytest.raises(KeyboardInterrupt):
        network.fit(*iris)
    assert network.n_iter_ == 3
    other = NetworkClassifier(max_iter=3, random_state=0).fit(*iris)
    assert_same_parameters(network, other, rtol=0)


def test_signals_come_between_mini_batches(digits):
    """Ctrl-C ends the training; a handler that returns changes no bit."""
    X, y = np.tile(digits[0], (100, 1)), np.tile(digits[1], 100)
    network = NetworkClassifier(max_iter=10**6, n_iter_no_change=np.inf, random_state=0)
    clone(network).set_params(max_iter=1).fit(X, y)  # compiles
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        network.fit(X, y)
    assert network.score(X, y) > 0.99
    assert len(network.loss_curve_) == network.n_iter_ < 10**6

    seen = []
    before = signal.signal(signal.SIGTERM, lambda *args: seen.append(args))
    try:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        network.set_params(max_iter=10).fit(X, y)
        timer.join()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(seen) == 1
    assert_same_parameters(network, clone(network).fit(X, y), rtol=0)


def test_divergence_in_words(iris):
    X, _ = iris
    network = NetworkRegressor(solver="sgd", activation="identity", learning_rate_init=10.0)
    with pytest.raises(FloatingPointError, match=r"learning_rate_init=10\.0 may be too large"):
        network.fit(X, X @ [1.0, 2.0, 3.0, 4.0])
    assert all(np.isfinite(w).all() for w in network.coefs_)


# ------------------------------------------------ weights of samples, held-out samples


def test_weights_scale_like_repetitions(iris):
    """What the mini-batches of all samples compute depends on the ratios of weights only."""
    X, y = iris
    how = dict(max_iter=10, random_state=0, alpha=0, batch_size=1000)
    weights = np.arange(150) % 3
    one = NetworkClassifier(**how).fit(X, y, sample_weight=weights)
    ten = NetworkClassifier(**how).fit(X, y, sample_weight=10 * weights)
    repeated = NetworkClassifier(**how).fit(np.repeat(X, weights, axis=0), np.repeat(y, weights))
    assert_same_parameters(one, ten, rtol=1e-6, atol=1e-9)
    assert_same_parameters(one, repeated, rtol=1e-6, atol=1e-9)
    balanced = {0: 1.0, 1: 2.0, 2: 0.5}
    by_class = NetworkClassifier(class_weight=balanced, **how).fit(X, y)
    by_sample = NetworkClassifier(**how).fit(X, y, np.array([1.0, 2.0, 0.5])[y])
    assert_same_parameters(by_class, by_sample, rtol=0)
    with pytest.raises(ValueError, match="no negative"):
        NetworkClassifier().fit(X, y, weights - 1)


@pytest.mark.parametrize("labels", [None, np.arange(1000) % 3])
def test_held_out_samples(labels):
    rng = np.random.RandomState(0)
    X = rng.randint(0, 4, (1000, 4)).astype(float)  # 256 rows that differ
    mask = held_out(X, labels, np.ones(1000), 0.2, 7)
    assert 150 < mask.sum() < 250
    if labels is None:
        assert not {*map(tuple, X[mask])} & {*map(tuple, X[~mask])}
    else:
        assert all(40 < mask[labels == c].sum() < 90 for c in range(3))
    order = rng.permutation(1000)
    moved = held_out(X[order], None if labels is None else labels[order], np.ones(1000), 0.2, 7)
    np.testing.assert_array_equal(moved, mask[order])
    assert (held_out(X, labels, np.ones(1000), 0.2, 8) != mask).any()
    np.testing.assert_array_equal(
        held_out(sparse.csr_array(X), labels, np.ones(1000), 0.2, 7), mask
    )
    assert len(np.unique(row_hashes(X, 1))) == len(np.unique(X, axis=0))
    np.testing.assert_array_equal(row_hashes(-0.0 * X, 1), row_hashes(0 * X, 1))


def test_the_smallest_validation_sets():
    with pytest.raises(ValueError, match="n_samples = 3"):
        NetworkClassifier(early_stopping=True).fit(np.ones((3, 2)), [0, 1, 0])
    eval_set = np.ones((1, 2)), [0]
    NetworkClassifier(early_stopping=True).fit(np.ones((3, 2)), [0, 1, 0], eval_set=eval_set)
    network = NetworkClassifier(early_stopping=True, max_iter=2).fit(
        [[1], [2], [3], [4]], [0, 0, 0, 1]
    )
    assert len(network.validation_scores_) == 2


# ------------------------------------------------ types of data


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_dtypes(iris, estimator):
    X, y = iris
    for given, dtype, wanted in [
        (np.float64, None, np.float64), (np.float32, None, np.float32), (int, None, np.float64),
        (np.float64, np.float32, np.float32), (np.float32, "float64", np.float64),
    ]:  # fmt: skip
        network = estimator(5, max_iter=2, dtype=dtype).fit(X.astype(given), y)
        assert {a.dtype for a in network.coefs_ + network.intercepts_} == {np.dtype(wanted)}
        assert network._outputs(X).dtype == wanted
    with pytest.raises(ValueError, match="dtype is"):
        estimator(dtype=np.float16).fit(X, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse_inputs_are_dense_ones(digits, dtype, early_stopping, monkeypatch):
    X, y = digits[0].astype(dtype), digits[1]
    how = dict(hidden_layer_sizes=8, max_iter=4, random_state=0, early_stopping=early_stopping)
    dense = NetworkClassifier(**how).fit(X, y)
    for container in (sparse.csr_matrix, sparse.csr_array, sparse.csc_array, sparse.coo_array):
        X_sparse = container(X)
        with monkeypatch.context() as patch:
            patch.setattr(type(X_sparse), "toarray", None)
            patch.setattr(sparse.csr_array, "toarray", None)
            network = NetworkClassifier(**how).fit(X_sparse, y)
            proba = network.predict_proba(X_sparse)
        np.testing.assert_array_equal(proba, dense.predict_proba(X))
    unsorted = sparse.csr_array(X)
    unsorted.indices[: unsorted.indptr[1]] = unsorted.indices[: unsorted.indptr[1]][::-1]
    unsorted.data[: unsorted.indptr[1]] = unsorted.data[: unsorted.indptr[1]][::-1]
    unsorted.has_sorted_indices = unsorted.has_canonical_format = False
    before = unsorted.indices.copy()
    np.testing.assert_array_equal(dense.predict_proba(unsorted), dense.predict_proba(X))
    np.testing.assert_array_equal(unsorted.indices, before)
    nothing = sparse.csr_array((3, X.shape[1]), dtype=dtype)
    np.testing.assert_array_equal(dense.predict(nothing), dense.predict(np.zeros((3, X.shape[1]))))


def test_large_inputs_are_taken_as_they_are(digits):
    """No rescaling, and no warning."""
    X, y = 255 * digits[0], digits[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        network = NetworkClassifier(random_state=0, max_iter=5).fit(X, y)
        network.predict(X)
    scaled = NetworkClassifier(random_state=0, max_iter=5).fit(X / 255, y)
    assert np.abs(network.predict_proba(X) - scaled.predict_proba(X / 255)).max() > 1e-3


def test_columns_of_targets_warn(iris):
    X, y = iris
    for estimator in ESTIMATORS:
        with pytest.warns(DataConversionWarning):
            assert estimator(max_iter=1).fit(X, y[:, None]).predict(X).shape == (150,)


# ------------------------------------------------ learning rates


def rates_of(network, X, y):
    """Return (the learning rate of each epoch, the network), fitted."""
    rates = []
    network.set_params(callback=lambda figures: rates.append(figures["eta"])).fit(X, y)
    return rates, network


def rates_of_peer(peer, X, y, monkeypatch):
    """Return the learning rate with which MLPClassifier begins each epoch."""
    from sklearn.neural_network import _stochastic_optimizers as optimizers

    rates, end = [], optimizers.SGDOptimizer.iteration_ends

    def note(self, time_step):
        rates.append(self.learning_rate)
        end(self, time_step)

    monkeypatch.setattr(optimizers.SGDOptimizer, "iteration_ends", note)
    peer.fit(X, y)
    return rates


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize(
    "how",
    [
        dict(learning_rate="constant"),
        dict(learning_rate="invscaling", power_t=0.3),
        dict(learning_rate="adaptive", tol=0.02, n_iter_no_change=3),
        dict(learning_rate="adaptive", tol=10.0, n_iter_no_change=1, learning_rate_init=1e-4),
    ],
    ids=lambda how: "-".join(map(str, how.values())),
)
def test_the_learning_rates_of_sklearn(iris, estimator, how, monkeypatch):
    """And so the same weights, and the same number of epochs."""
    X, y = iris
    how = dict(
        hidden_layer_sizes=5, solver="sgd", batch_size=50, max_iter=60, random_state=3,
        nesterovs_momentum=False, alpha=0, shuffle=False,
    ) | {"learning_rate_init": 0.05} | how  # fmt: skip
    peer = PEERS[estimator](**how)
    wanted = rates_of_peer(peer, X, y, monkeypatch)
    rates, network = rates_of(estimator(**how), X, y)
    np.testing.assert_allclose(rates, wanted, rtol=1e-13)
    assert network.n_iter_ == peer.n_iter_
    assert_same_parameters(network, peer, rtol=1e-8, atol=1e-12)
    if how["learning_rate"] != "constant":
        assert len(set(rates)) > 2


@pytest.mark.parametrize("learning_rate", ["invscaling", "adaptive"])
def test_learning_rates_of_partial_fit(iris, learning_rate):
    X, y = iris
    how = dict(
        solver="sgd", learning_rate=learning_rate, tol=0.5, n_iter_no_change=2, random_state=2,
        learning_rate_init=0.05,
    )  # fmt: skip
    if learning_rate == "invscaling":
        how["n_iter_no_change"] = np.inf
    rates, whole = rates_of(NetworkClassifier(max_iter=12, **how), X, y)
    parts, rates_of_parts = NetworkClassifier(**how), []
    for _ in range(12):
        parts = pickle.loads(pickle.dumps(parts.set_params(callback=None)))
        parts.set_params(callback=lambda figures: rates_of_parts.append(figures["eta"]))
        parts.partial_fit(X, y, classes=[0, 1, 2])
    assert rates_of_parts == rates
    assert len(set(rates)) > 2
    assert_same_parameters(whole, parts, rtol=0)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_schedules_of_fastbp(iris, solver):
    how = dict(solver=solver, max_iter=4, learning_rate_init=0.5, n_iter_no_change=9)
    for schedule in (schedules.Linear(), "linear", lambda epoch, epochs: 1 - epoch / epochs):
        network = NetworkClassifier(learning_rate=schedule, **how)
        assert rates_of(clone(network), *iris)[0] == [0.5, 0.375, 0.25, 0.125]
    assert rates_of(NetworkClassifier(learning_rate="step:2", **how), *iris)[0][-1] == 0.25
    network = NetworkClassifier(learning_rate="linear", **how)
    for wanted in (0.5, 0.375, 0.25, 0.125, 0.125):  # the last one stays
        rates = []
        network.set_params(callback=lambda figures, rates=rates: rates.append(figures["eta"]))
        network.partial_fit(*iris, classes=[0, 1, 2])
        assert rates == [wanted]


def test_adam_has_its_own_rates(iris):
    for choice in ("invscaling", "adaptive"):
        network = NetworkClassifier(learning_rate=choice, max_iter=3)
        assert rates_of(network, *iris)[0] == [1e-3] * 3


# ------------------------------------------------ deformed images


@dataclasses.dataclass(frozen=True)
class Deformation:
    """A stand-in, which multiplies images by numbers that follow from seed, epoch and label."""

    rotation: float = 0.0

    def apply(self, images, labels, seed, epoch, out=None, threads=None):
        out = np.empty_like(images) if out is None else out
        labels = np.zeros(len(images), int) if labels is None else labels
        for i, image in enumerate(images):
            factors = np.random.default_rng([seed, epoch, i, labels[i]]).random(len(image))
            out[i] = image * (1 - self.rotation * factors)
        return out


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr("fastbp.training.epoch_data.deformation.Deformation", Deformation)


def test_deformed_images(digits, stand_in):
    X, y = digits
    how = dict(max_iter=4, random_state=1, n_iter_no_change=20, batch_size=50)
    plain = NetworkClassifier(**how).fit(X, y)
    one = NetworkClassifier(deform=dict(rotation=0.5), **how).fit(X, y)
    assert not np.allclose(plain.coefs_[0], one.coefs_[0])
    two = NetworkClassifier(deform=dict(rotation=0.5), n_jobs=1, **how).fit(X, y)
    assert_same_parameters(one, two, rtol=0)
    parts = NetworkClassifier(deform=dict(rotation=0.5), **how)
    for _ in range(4):
        parts = pickle.loads(pickle.dumps(parts.partial_fit(X, y, classes=[0, 1])))
    assert_same_parameters(one, parts, rtol=0)
    fives = NetworkClassifier(deform=dict(rotation=0.5), **how).fit(X, y + 5)
    assert not np.allclose(fives.coefs_[0], one.coefs_[0])  # labels are those of the user
    named = NetworkClassifier(deform=dict(rotation=0.5), **how).fit(X, np.array(["a", "b"])[y])
    assert np.isfinite(named.loss_)
    early = NetworkClassifier(deform=dict(rotation=0.5), early_stopping=True, **how).fit(X, y)
    assert early.best_validation_score_ > 0.5


def test_deformations_that_make_no_sense(digits, stand_in):
    X, y = digits
    with pytest.raises(ValueError, match="deform has 'x'"):
        NetworkClassifier(deform=dict(x=1)).fit(X, y)
    with pytest.raises(TypeError, match="deform is 3"):
        NetworkClassifier(deform=3).fit(X, y)
    with pytest.raises(TypeError, match=r"deform: X is sparse.* use X\.toarray"):
        NetworkClassifier(deform={}).fit(sparse.csr_array(X), y)


# ------------------------------------------------ parameters


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_layer_sizes", 0), ("hidden_layer_sizes", (3, -1)), ("hidden_layer_sizes", None),
        ("learning_rate", "fast"), ("learning_rate", "halve"), ("learning_rate", 0.1),
        ("learning_rate", "step:0"), ("power_t", -1),
        ("activation", "softmax"), ("solver", "lbfgs"), ("alpha", -1), ("batch_size", 0),
        ("batch_size", "all"), ("learning_rate_init", 0), ("max_iter", 0), ("tol", -1),
        ("n_iter_no_change", 0), ("shuffle", 1), ("random_state", -1), ("momentum", 1),
        ("nesterovs_momentum", "yes"), ("early_stopping", 1), ("validation_fraction", 0),
        ("validation_fraction", 1), ("beta_1", 1), ("beta_2", -1), ("epsilon", 0),
        ("warm_start", None), ("dropout", 1), ("dropout", (0.1,)), ("callback", 3),
        ("progress", "yes"), ("dtype", int), ("n_jobs", 0),
    ],
)  # fmt: skip
def test_parameters_that_make_no_sense(iris, name, value):
    for estimator in ESTIMATORS:
        with pytest.raises((ValueError, TypeError), match=name):
            estimator(**{name: value}).fit(*iris)


def test_random_states(iris):
    X, y = iris

    def fit(random_state):
        return NetworkClassifier(max_iter=2, random_state=random_state).fit(X, y)

    assert_same_parameters(fit(3), fit(np.random.RandomState(3)), rtol=0)
    one, two = (fit(np.random.default_rng(5)) for _ in range(2))
    assert_same_parameters(one, two, rtol=0)
    np.random.seed(0)
    one = fit(None)
    assert np.random.rand() == np.random.RandomState(0).rand()  # nothing was drawn
    assert (fit(None).coefs_[0] != one.coefs_[0]).any()


def test_no_hidden_layer(iris):
    network = NetworkClassifier((), random_state=0, learning_rate_init=0.01).fit(*iris)
    assert network.n_layers_ == 2
    assert network.score(*iris) > 0.9


def test_threads_do_not_change_bits(digits):
    fits = [
        NetworkClassifier(200, max_iter=3, random_state=0, n_jobs=n).fit(*digits)
        for n in (1, 2, -1, -2, None)
    ]
    for other in fits[1:]:
        assert_same_parameters(fits[0], other, rtol=0)


def test_alpha_and_dropout(digits):
    sizes = [
        np.abs(NetworkClassifier(10, alpha=alpha, random_state=1).fit(*digits).coefs_[0]).sum()
        for alpha in (0, 1)
    ]
    assert sizes[1] < sizes[0]
    dropped = NetworkClassifier(50, dropout=0.5, random_state=1).fit(*digits)
    assert dropped.score(*digits) > 0.97
    assert dropped.loss_ > NetworkClassifier(50, random_state=1).fit(*digits).loss_


# ------------------------------------------------ within scikit-learn


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_copies(iris, estimator, tmp_path):
    X, y = iris
    network = estimator(5, max_iter=3, random_state=0).fit(X, y)
    joblib.dump(network, tmp_path / "network.joblib")
    for copy in (pickle.loads(pickle.dumps(network)), joblib.load(tmp_path / "network.joblib")):
        np.testing.assert_array_equal(copy.predict(X), network.predict(X))
        again = pickle.loads(pickle.dumps(network)).partial_fit(X, y)
        assert_same_parameters(copy.partial_fit(X, y), again, rtol=0)
    with pytest.raises(NotFittedError):
        clone(network).predict(X)
    assert pickle.dumps(network).count(b"fastbp.estimator\x94") == 1


def test_pipelines_and_feature_names():
    frame = pytest.importorskip("pandas").DataFrame
    X, y = datasets.load_iris(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(StandardScaler(), NetworkClassifier(max_iter=20, early_stopping=True))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.set_output(transform="pandas").fit(X, y).predict(X)
    assert list(pipeline[-1].feature_names_in_) == list(X.columns)
    renamed = frame(X.to_numpy(), columns=list("abcd"))
    with pytest.raises(ValueError, match="feature names"):
        pipeline[-1].predict(renamed)


@pytest.mark.slow
def test_searches_on_several_processes(iris):
    grid = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(5,), (10, 5)]}
    network = NetworkClassifier(max_iter=10, random_state=0)
    searches = [
        model_selection.GridSearchCV(network, grid, n_jobs=n, cv=2).fit(*iris) for n in (1, 2)
    ]
    for name in ("mean_test_score", "params"):
        np.testing.assert_array_equal(*(search.cv_results_[name] for search in searches))
    with joblib.parallel_config("multiprocessing"):  # forked
        scores = model_selection.cross_val_score(network, *iris, cv=2, n_jobs=2)
    with joblib.parallel_config("threading"):
        threads = model_selection.cross_val_score(network, *iris, cv=2, n_jobs=2)
    np.testing.assert_array_equal(scores, threads)


def test_without_sklearn():
    code = "import sys; sys.modules['sklearn'] = None; import fastbp, fastbp.estimator"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stderr.splitlines()[-1] == (
        "ImportError: fastbp.estimator needs scikit-learn: pip install 'fastbp[sklearn]'"
    )


def test_costs_of_probabilities_0_and_1_are_finite():
    A, Y = np.array([[0.0], [1.0]]), np.array([[1.0], [0.0]])
    assert 30 < figures.mean_cost(A, Y, [1, 1], "cross-entropy") < 40
    assert figures.mean_cost(A, 1 - Y, [1, 1], "cross-entropy") < 1e-15


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loss_of_probabilities_0_is_finite(digits, dtype):
    X, y = 200 * digits[0].astype(dtype), digits[1]
    network = NetworkClassifier(solver="sgd", learning_rate_init=1.0, max_iter=3).fit(X, y)
    assert np.isfinite(network.loss_curve_).all()


# ------------------------------------------------ slow: as good as scikit-learn's defaults


@pytest.mark.slow
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "digits"])
def test_accuracy_of_the_defaults(name):
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    folds = model_selection.StratifiedKFold(3, shuffle=True, random_state=0)
    ours, peer = (
        _mean_score(c(random_state=0), X, y, folds) for c in (NetworkClassifier, MLPClassifier)
    )
    assert ours > peer - 0.02


@pytest.mark.slow
@pytest.mark.parametrize("name", ["diabetes", "friedman1"])
def test_r2_of_the_defaults(name):
    if name == "diabetes":
        X, y = datasets.load_diabetes(return_X_y=True)
    else:
        X, y = datasets.make_friedman1(500, random_state=0)
    folds = model_selection.KFold(5, shuffle=True, random_state=0)
    ours, peer = (
        _mean_score(r(random_state=0), X, y, folds) for r in (NetworkRegressor, MLPRegressor)
    )
    assert ours > peer - 0.02
    assert ours > (0.4 if name == "diabetes" else 0.85)


def _mean_score(estimator, X, y, folds):
    pipeline = make_pipeline(StandardScaler(), estimator)
    return model_selection.cross_val_score(pipeline, X, y, cv=folds).mean()


@pytest.mark.slow
def test_mnist_as_mlp_classifier(real_mnist):
    (X, y), _, (X_test, y_test) = real_mnist
    X, X_test = (np.reshape(A, (len(A), -1)).astype(np.float32) for A in (X, X_test))
    how = dict(
        activation="logistic", solver="sgd", batch_size=200, max_iter=3, learning_rate_init=0.1,
        random_state=0,
    )  # fmt: skip
    ours, peer = NetworkClassifier(**how).fit(X, y), MLPClassifier(**how).fit(X, y)
    assert ours.score(X_test, y_test) > 0.93
    assert abs(ours.score(X_test, y_test) - peer.score(X_test, y_test)) < 0.003
