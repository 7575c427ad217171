"""Which videos there are and which seconds of them are cut; knows no torch."""
