"""One file for each version of the schema, oldest first; a file that was released is never changed."""
