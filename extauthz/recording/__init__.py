"""What requests asked, kept for replay: shapes, their counts, and the batches that carry them."""
