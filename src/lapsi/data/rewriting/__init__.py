"""Files of arrays and records, written again as they are with some samples left out and some labels changed."""
