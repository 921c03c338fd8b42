"""From the outputs of a model to a loss in nats, in difference form."""
