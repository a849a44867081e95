"""Estimators for scikit-learn: the parameters of its MLPs, on fastbp's kernels."""

try:
    import sklearn  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "sklearn":
        raise
    raise ImportError(
        "fastbp.estimator needs scikit-learn: pip install 'fastbp[sklearn]'"
    ) from None

from fastbp.estimators.classifier import NetworkClassifier
from fastbp.estimators.regressor import NetworkRegressor

__all__ = ["NetworkClassifier", "NetworkRegressor"]
