"""One file for each foreign thing. An adapter translates foreign errors and owns the short retries."""
