"""What training needs around the objective: loops, optimizer, run folders, logs, classifiers."""
