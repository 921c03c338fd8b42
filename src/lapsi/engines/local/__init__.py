"""Many outputs: the closed form with an inverse Hessian that is exact among the outputs that are coupled."""
