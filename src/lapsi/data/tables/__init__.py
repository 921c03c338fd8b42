"""Tables as people have them: what each column is, and the numbers that are made of it."""
