"""The classifier: its parameters, and what it predicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from fastbp.estimators.base import BaseNetwork, trains_by_parts
from fastbp.estimators.labels import Labels
from fastbp.typing import Activation, Callbacks, Deform, FloatArray, LearningRate, RandomState


class NetworkClassifier(ClassifierMixin, Labels, BaseNetwork):
    """A classifier with the parameters of scikit-learn's MLPClassifier, on fastbp's kernels.

    Two classes: one sigmoid neuron with the cross-entropy cost; more: softmax neurons with the
    log-likelihood cost; several labels per sample (rows of 0 and 1): a sigmoid neuron for each.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Neurons per hidden layer; ``()`` for none.
    activation : {"relu", "logistic", "sigmoid", "tanh", "identity"}
        Of the hidden layers; "sigmoid" is another name of "logistic".
    solver : {"adam", "sgd"}
        Adam (Kingma and Ba 2015), or gradient descent with `momentum`.
    alpha : float
        L2 regularisation of the weights. As in scikit-learn the gradient of a mini-batch has the
        term ``alpha / batch_size * weights``, where the size is the sum of the samples' weights. It
        is the same for all mini-batches of an epoch, also for a last, shorter one.
    batch_size : int or "auto"
        Samples per mini-batch, at most all; "auto" is 32.
    learning_rate : {"constant", "invscaling", "adaptive"}, str or callable
        How `learning_rate_init` changes, once per epoch. As in scikit-learn, with the solver "sgd":
        "invscaling": divided by ``(t + 1) ** power_t``, for the t samples seen; "adaptive": divided
        by 5 where training would else end by `n_iter_no_change`, until it is 1e-6. Or, with both
        solvers, one of `fastbp.schedules` over `max_iter` epochs, its name, e.g. "linear", or a
        function (epoch, epochs) that returns a factor.
    learning_rate_init : float
        The learning rate of the first epoch.
    power_t : float
        Of "invscaling".
    max_iter : int
        The most epochs.
    tol : float
        By how much the loss, or with `early_stopping` the validation score, has to improve.
    n_iter_no_change : int or inf
        Training ends after more than so many epochs without such an improvement.
    shuffle : bool
        Whether the samples are shuffled before each epoch.
    random_state : int, numpy.random.RandomState, numpy.random.Generator or None
        Where the first weights, the order of the samples, the masks of dropout and the held-out
        samples come from. NumPy's global generator is never used, also not for None.
    momentum : float
        Of "sgd", 0 <= momentum < 1.
    nesterovs_momentum : bool
        Whether the momentum is Nesterov's.
    early_stopping : bool
        Whether training ends by the score on held-out samples, or on the `eval_set` of `fit`. In
        the end the weights are those of the epoch with the best score, of several with the same
        score those with the least loss. There is no `partial_fit` then.
    validation_fraction : float
        The share of samples, of each class, that `early_stopping` holds out. Samples of a class
        with equal ``X`` are never on both sides.
    beta_1, beta_2, epsilon : float
        Of "adam".
    warm_start : bool
        Whether `fit` goes on where the last call of `fit` or `partial_fit` ended, optimizer and
        order of samples included.
    verbose : bool
        Whether a line is printed after each epoch.
    class_weight : dict, "balanced" or None
        What the weights of samples are multiplied by, as in scikit-learn.
    dropout : float or sequence of float
        The share of hidden neurons that a sample is trained without, or one number for each layer
        but the output layer, the input layer first.
    deform : dict, fastbp.expand_mnist.Deformation or None
        X are square images, one a row, and are deformed anew for each epoch, by these arguments of
        `Deformation`. Held-out samples are not. Its `halved` are labels, as integers or as text.
    callback : callable or list of callables
        Called after each epoch with a dictionary of figures: "epoch", "epochs", "eta", "samples",
        "seconds", "loss" and, with validation data, "validation_loss" and "validation_score". One
        that returns True ends the training.
    progress : bool or None
        Whether a progress bar is shown; None: where standard error is a terminal, and in a notebook
        with ipywidgets.
    dtype : numpy.float32, numpy.float64 or None
        Of weights and computation; None: float32 if X is, else float64.
    n_jobs : int or None
        Threads: None for as many as are faster, -1 for all processors, -2 for all but one. Results
        are the same to the bit for any number.

    Attributes
    ----------
    coefs_, intercepts_ : list of ndarray
        Weights ``(n_in, n_out)`` and biases ``(n_out,)`` of each layer.
    loss_, loss_curve_ : float, list of float
        The cost per sample, averaged over an epoch, each sample before its mini-batch's step, plus
        the L2 term at the beginning of the epoch; with dropout, under dropout. `loss_` is the last.
    best_loss_ : float or None
        The smallest; None with `early_stopping`.
    n_iter_ : int
        Epochs of the last call.
    t_ : int
        Samples seen in all calls.
    validation_scores_, validation_loss_curve_ : list of float or None
        After each epoch, where there are validation data: `score`, and the cost per sample.
    best_validation_score_ : float or None
        The largest of them.
    classes_ : ndarray
        The labels, in the order of `predict_proba`.
    n_features_in_, feature_names_in_
        As in scikit-learn.
    n_layers_, n_outputs_ : int
        Layers with the input layer, and output neurons.
    out_activation_ : str
        "logistic" or "softmax".

    Notes
    -----
    With equal parameters and the same int as `random_state`, and without weights and early
    stopping, the first weights and the order of samples are those of scikit-learn's
    `MLPClassifier`, and the fitted numbers agree within rounding for mini-batches of equal size
    ("adam": up to `epsilon`, which is added to another square root). Inputs are used as they are:
    scale them, e.g. by a StandardScaler; images with `deform`, whose background must stay 0, by a
    division. Sparse inputs are never made dense.

    Of samples with weights, each mini-batch's gradient is divided by its number of samples times
    the mean weight of all. If the weights diverge, or training is interrupted, the estimator keeps
    the last finite ones.

    A memory map in C order that has the network's type, float32 or float64, is not copied; other
    types, bytes for instance, are converted in memory as a whole. `early_stopping` without an
    `eval_set`, and weights of 0, copy the samples that they divide; `deform` makes two arrays like
    X. For data larger than memory see `fastbp.network2.Network.SGD`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastbp.estimator import NetworkClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = NetworkClassifier((20,), learning_rate_init=0.02, random_state=1, tol=0.01)
    >>> model = make_pipeline(StandardScaler(), classifier)
    >>> model.fit(X, y).score(X, y) > 0.9
    True
    """

    __module__ = "fastbp.estimator"  # where users and pickles find it

    def __init__(
        self, hidden_layer_sizes: int | Sequence[int] = (100,), *,
        activation: Activation = "relu", solver: Literal["adam", "sgd"] = "adam",
        alpha: float = 1e-4, batch_size: int | Literal["auto"] = "auto",
        learning_rate: LearningRate = "constant", learning_rate_init: float = 1e-3,
        power_t: float = 0.5, max_iter: int = 200, tol: float = 1e-4,
        n_iter_no_change: float = 10, shuffle: bool = True, random_state: RandomState = None,
        momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999,
        epsilon: float = 1e-8, warm_start: bool = False, verbose: bool = False,
        class_weight: dict[Any, float] | str | None = None,
        dropout: float | Sequence[float] = 0.0, deform: Deform | None = None,
        callback: Callbacks = None,
        progress: bool | None = False, dtype: DTypeLike | None = None, n_jobs: int | None = None,
    ) -> None:  # fmt: skip
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.tol = tol
        self.n_iter_no_change = n_iter_no_change
        self.shuffle = shuffle
        self.random_state = random_state
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.warm_start = warm_start
        self.verbose = verbose
        self.class_weight = class_weight
        self.dropout = dropout
        self.deform = deform
        self.callback = callback
        self.progress = progress
        self.dtype = dtype
        self.n_jobs = n_jobs

    def fit(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None,
        eval_set: tuple[ArrayLike, ArrayLike] | None = None,
    ) -> Self:  # fmt: skip
        """Fit the network to samples.

        Parameters
        ----------
        X : array or sparse array of shape (n, n_features)
            The inputs.
        y : array of shape (n,) or (n, n_labels)
            Labels of any type, or rows of 0 and 1.
        sample_weight : array of shape (n,), optional
            Not negative; samples of weight 0 are left out.
        eval_set : tuple (X, y), optional
            Validation data: measured after each epoch, and used by `early_stopping` in place of
            held-out samples.

        Returns
        -------
        NetworkClassifier
            Itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter or the data make no sense.
        FloatingPointError
            If the weights diverge.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            If training ends by `max_iter`.
        """
        return self._fit(X, y, sample_weight, eval_set)

    @available_if(trains_by_parts)
    def partial_fit(
        self, X: ArrayLike, y: ArrayLike, classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:  # fmt: skip
        """Train for one epoch on samples, going on from the call before.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array of shape (n_classes,), optional
            All labels; needed in the first call.

        Returns
        -------
        NetworkClassifier
            Itself.
        """
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of each row of X, an array (n,), or labels (n, n_labels).

        Parameters
        ----------
        X : array or sparse array of shape (n, n_features)
        """
        outputs = self._outputs(X)
        if self.out_activation_ == "softmax":
            return self.classes_[outputs.argmax(axis=1)]
        positive = (outputs > 0.5).astype(int)
        return positive if self._is_multilabel else self.classes_[positive[:, 0]]

    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """Return the probability of each class, an array (n, n_classes), for the rows of X.

        Parameters
        ----------
        X : array or sparse array of shape (n, n_features)
        """
        outputs = self._outputs(X)
        if self.out_activation_ == "softmax" or self._is_multilabel:
            return outputs
        return np.hstack([1 - outputs, outputs])

    def predict_log_proba(self, X: ArrayLike) -> FloatArray:
        """Return the logarithm of `predict_proba`.

        Parameters
        ----------
        X : array or sparse array of shape (n, n_features)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))
