"""Parts that pictures share: principal components and co-segmentation."""
