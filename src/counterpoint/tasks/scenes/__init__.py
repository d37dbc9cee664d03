"""Views of one rigid scene: key points, their matches, the matrices that tie them."""
