"""The curator's other questions about a data set: one a file."""
