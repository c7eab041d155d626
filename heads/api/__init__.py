"""`heads` from Python: a run that judges, and a classifier as scikit-learn has them."""
