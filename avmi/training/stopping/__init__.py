"""What ends a run before its time → a checkpoint, or an error that says what and where."""
