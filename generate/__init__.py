"""What `make` writes of the code's own facts: tables and figures of the documents, and a table of architectures."""
