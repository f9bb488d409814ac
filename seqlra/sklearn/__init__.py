"""Networks as scikit-learn estimators: in pipelines, under `GridSearchCV`, for data frames.

    >>> from sklearn.datasets import load_digits
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from seqlra.sklearn import LRAClassifier
    >>> x, y = load_digits(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LRAClassifier(max_iter=20, random_state=0)).fit(x[:1200], y[:1200])
    >>> bool(model.score(x[1200:], y[1200:]) > 0.8)
    True

Their parameters have the names of scikit-learn's own multilayer perceptrons where these have them.
"""

from seqlra.optional import MissingLibrary, installing

try:
    from seqlra.sklearn.classifier import LRAClassifier as LRAClassifier
    from seqlra.sklearn.regressor import LRARegressor as LRARegressor
    from seqlra.sklearn.sequence_classifier import LRASequenceClassifier as LRASequenceClassifier
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "sklearn":
        raise
    raise MissingLibrary(f"seqlra.sklearn needs scikit-learn: {installing('sklearn')}") from None
