"""The search for the best time step and layer, and its figures."""
