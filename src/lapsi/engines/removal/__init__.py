"""Samples that leave a linear problem, each alone: the closed form, what is missing of it, and the way to the optimum."""
