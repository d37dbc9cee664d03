"""What people do with feature maps: pure functions of them that never load a model."""
