"""Dense correspondence of foreground pixels: TSS."""
