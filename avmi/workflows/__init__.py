"""One verb a file, independent of each other; each is a function whose result prints itself."""
