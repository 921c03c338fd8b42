"""What the targets of a data set are."""

AUTO = "auto"
CLASSES, MULTILABEL, REGRESSION = TASKS = ("classes", "multilabel", "regression")
TOKENS = "tokens"  # of networks alone
PAIRS = "pairs"
