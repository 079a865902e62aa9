"""Whole jobs, each reading top to bottom: stages are lined up, thread boundaries put in, nothing else."""
