"""The closed form: one exact Newton step for every sample that leaves."""
