"""Bringing a file into the store: from where, with which credentials, in ranges that outlive their process."""
