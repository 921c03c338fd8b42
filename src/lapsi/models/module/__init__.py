"""Any torch module: its layers, what passes through them, and the gradients of single samples."""
