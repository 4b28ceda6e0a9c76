"""Synthetic film dust, training of both networks, evaluation, export."""
