"""What server and worker say to each other, declared once for both."""
