"""`align` and `scene`: two views of a scene, and many."""
