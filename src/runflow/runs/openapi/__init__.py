"""The OpenAPI document of one workflow, for generated clients and forms."""
