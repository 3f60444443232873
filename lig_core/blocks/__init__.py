"""One Hugging Face layer frozen at one text: capture it, split it, find out how it is wired."""
