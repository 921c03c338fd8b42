"""The paper's own way: training anew without each sample."""
