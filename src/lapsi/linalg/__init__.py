"""Large matrices; knows no model."""
