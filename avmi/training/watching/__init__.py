"""What a step or an evaluation gave → what is recorded of it, shown, and warned of."""
