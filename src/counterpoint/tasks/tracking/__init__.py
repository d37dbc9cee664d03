"""What is marked in a video's frame, carried to the others."""
