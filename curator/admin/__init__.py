"""Keeping an index in order: a person's own changes to it, checks, repairs, backups."""
