"""MAP fits of a problem."""
