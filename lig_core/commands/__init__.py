"""The commands of `lig` that compute here or look at results. Each imports what it needs when it runs."""
