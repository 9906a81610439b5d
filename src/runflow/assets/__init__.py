"""Assets: uploaded files, `runflow://assets/{uuid}`."""
