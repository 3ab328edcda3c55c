"""Slipway: a serverless launcher for machine-learning jobs."""
