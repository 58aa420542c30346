"""What all plans share: a part, an alignment, fusion."""
