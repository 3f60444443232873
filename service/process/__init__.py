"""The processes of the service: the API, and everything of `lig serve`."""
