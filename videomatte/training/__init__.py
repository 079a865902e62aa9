"""Training: procedural samples, losses, the loop. Needs the extra ``train`` for its curves."""
