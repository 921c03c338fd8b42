"""What comes in: arrays, tables, images and texts become a labelled data set."""
