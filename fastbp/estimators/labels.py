"""What is between labels and output neurons.

Invariant: the neurons are in the order of `classes_`; with two classes the one neuron is the second
"""

import numpy as np
from sklearn.utils import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from fastbp.data import messages
from fastbp.estimators.figures import accuracy
from fastbp.training.compute.samples import is_csr


class Labels:
    """The part of NetworkClassifier that reads labels."""

    def _note_classes(self, y, classes):
        """Set classes_ in the first call of partial_fit; in later ones they are the same."""
        is_first = not hasattr(self, "classes_")
        if classes is None:
            if is_first:
                raise ValueError("classes is None, expected all labels in the first partial_fit")
            return
        if not np.size(classes):
            raise ValueError("classes is empty, expected all labels")
        classes = unique_labels(classes)
        if is_first:
            self._set_classes(classes, type_of_target(y).startswith("multilabel"))
        elif not np.array_equal(classes, self.classes_):
            raise ValueError(
                f"classes is {messages.describe(classes)}, expected the same as in the first call "
                f"of partial_fit, or None: {messages.describe(self.classes_)}"
            )

    def _set_classes(self, classes, is_multilabel):
        if len(classes) < 2 and not is_multilabel:
            raise ValueError(f"y has one class, {classes[0]!r}, expected at least two classes")
        self.classes_, self._is_multilabel = classes, is_multilabel

    def _read_targets(self, y, is_first, incremental):
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError("y has several columns of classes, expected (n,), or rows of 0 and 1")
        if is_first and not incremental:
            self._set_classes(unique_labels(y), kind.startswith("multilabel"))
        elif not incremental and not np.array_equal(unique_labels(y), self.classes_):
            raise ValueError(
                f"warm_start goes on with the same classes, {self.classes_}, but y has "
                f"{unique_labels(y)}"
            )
        return y

    def _class_weights(self, y, incremental):
        if self.class_weight is None:
            return 1.0
        if incremental and self.class_weight == "balanced":
            raise ValueError(
                "class_weight is 'balanced', for which partial_fit would have to see all samples; "
                "use sklearn.utils.class_weight.compute_class_weight, and a dictionary"
            )
        return compute_sample_weight(self.class_weight, y)

    def _encode(self, y, dtype):
        if self._is_multilabel:
            if y.ndim != 2 or y.shape[1] != len(self.classes_):
                raise ValueError(f"y has shape {y.shape}, expected (n, {len(self.classes_)})")
            other = np.argwhere((y != 0) & (y != 1))
            if len(other):
                i, j = other[0].tolist()
                raise ValueError(
                    f"y has {y[i, j]} at [{i}, {j}], expected rows of 0 and 1: 1 where a sample "
                    f"has a label"
                )
            return y.astype(dtype)
        if y.ndim != 1:
            raise ValueError(f"y has shape {y.shape}, expected classes, (n,)")
        known = set(self.classes_.tolist())  # not by NumPy, which may take 1 for "1"
        unknown = [label for label in np.unique(y).tolist() if label not in known]
        if unknown:
            raise ValueError(f"y has the classes {unknown}, expected classes of {self.classes_}")
        numbers = np.searchsorted(self.classes_, y)
        if len(self.classes_) == 2:
            return numbers[:, None].astype(dtype)
        return np.eye(len(self.classes_), dtype=dtype)[numbers]

    def _output_and_cost(self):
        if self._is_multilabel or len(self.classes_) == 2:
            return "sigmoid", "cross-entropy"
        return "softmax", "log-likelihood"

    def _strata(self, Y):
        if self._is_multilabel:
            return None
        return Y[:, 0] if Y.shape[1] == 1 else Y.argmax(axis=1)

    def _image_labels(self, data):
        """Return the labels (n,) by which images are deformed; None where they are no integers."""
        if is_csr(data.X):
            raise TypeError("deform: X is sparse, expected dense images; use X.toarray()")
        strata = self._strata(data.Y)
        if strata is None or self.classes_.dtype.kind == "b":
            return None
        try:
            return self.classes_.astype(int)[strata.astype(int)]  # floats are integral here
        except (ValueError, TypeError):  # text such as "cat"
            return None

    def _score(self, outputs, Y, sample_weight):
        return accuracy(outputs, Y, sample_weight, self._output_and_cost()[0] == "softmax")
