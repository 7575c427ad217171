"""Public corpora → folders that `avmi prepare` reads: one verb per corpus, `python -m data_prep VERB`."""
