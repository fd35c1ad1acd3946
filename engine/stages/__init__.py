"""What a worker does with records, one stage after the other: from the source to the writer."""
