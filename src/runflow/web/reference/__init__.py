"""What describes the API to people and to language models: the interactive page `/docs`, and `/llms.txt`."""
