"""Parts of birds: CUB-200-2011, as crops and as papers' subsets."""
