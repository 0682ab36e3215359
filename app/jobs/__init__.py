"""Work that can wait: files, batches and single long requests, kept in PostgreSQL and S3 and done by workers."""
