"""A run folder and what is in it → a run that begins, is saved, and goes on."""
