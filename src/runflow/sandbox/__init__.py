"""One supervisor for the processes that handle what strangers sent, and the limits that these set themselves."""
