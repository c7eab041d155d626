"""What predictions are worth: scores of one run, reports with intervals, comparisons. It alone reads test rows."""
