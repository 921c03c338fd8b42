"""Leave-one-out engines: how the parameters move when one sample leaves."""
