"""Backups of a home: one file, made while Timmy runs, and checked as a whole before it is put in place."""
