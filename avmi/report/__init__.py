"""Results → static HTML pages and pictures that open from disk without a server."""
