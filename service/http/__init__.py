"""HTTP itself, whatever it carries: errors as problems, origins, negotiation, streaming, pages."""
