"""Images among the assets: checked before they are kept, drawn small for lists."""
